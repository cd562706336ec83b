package sdk_test

import (
	"testing"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

// TestExamples tests the tasks of this package's examples as their authors would.
func TestExamples(t *testing.T) {
	t.Parallel()
	greet := sdk.Type[Hello]("hello.greet", "Greets somebody.")
	sdktest.Run(t, greet, nil).WantSuccess().WantResponse("hello world").WantStates()
	sdktest.Run(t, greet, map[string]any{"name": "leptir"}).WantSuccess().WantResponse("hello leptir")
	sdktest.Run(t, greet, map[string]any{"name": 3}).WantInputError("name")

	upload := sdk.Type[Upload]("upload.put", "Uploads a file.")
	sdktest.Run(t, upload, map[string]any{"file": "a.png"}, sdktest.ID("x"), sdktest.Attempt(2)).
		WantCode(sdk.Error).WantFailure("error", "the disk is full").
		WantResponse("cleaned up,", "the disk is full").
		WantMeta("file", "a.png").
		WantUndo("upload.delete", map[string]any{"file": "a.png"})
	sdktest.Run(t, upload, nil).WantInputError("file").WantResponse("cleaned up,", `parameter "file": not defined`)
}
