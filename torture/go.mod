module github.com/backplane/leptir/torture

go 1.26.0

require (
	github.com/Shopify/toxiproxy/v2 v2.12.0
	github.com/backplane/leptir v0.0.0
)

replace github.com/backplane/leptir => ../
