host {
	name = 5	# café [31m
}
