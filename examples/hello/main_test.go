package main

import (
	"testing"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

func TestGreet(t *testing.T) {
	t.Parallel()
	greet := sdk.Type[Hello]("hello.greet", "Greets somebody.")
	sdktest.Run(t, greet, nil).WantSuccess().WantResponse("hello world")
	sdktest.Run(t, greet, map[string]any{"name": "leptir"}).WantSuccess().WantResponse("hello leptir")
	sdktest.Run(t, greet, map[string]any{"name": 3}).WantCode(sdk.Error).WantInputError("name")
}

func TestPlugin(t *testing.T) {
	t.Parallel()
	path := sdktest.Build(t, ".")
	plugin := sdktest.Binary(t, path)
	plugin.Run("hello.greet", map[string]any{"name": "leptir"}).WantSuccess().WantResponse("hello leptir")
}
