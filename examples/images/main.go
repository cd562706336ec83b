// Command images is a plugin that makes thumbnails: real work, with parameters bound by
// their tags, progress as it goes, a result value, and a warning where some files could
// not be read.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	sdk "github.com/backplane/leptir/plugin-sdk"
)

func main() {
	sdk.Serve(sdk.Plugin{Name: "images", Version: "1.0.0", Tasks: []sdk.TaskType{thumbnails}})
}

var thumbnails = sdk.Type[Thumbnails]("images.thumbnails", "Makes thumbnails of the PNG and JPEG files of a folder.").
	WithParams(Params{})

// Params are the parameters of a Thumbnails.
type Params struct {
	Folder  string `json:"folder" doc:"The folder of the images."`
	To      string `json:"to,omitempty" doc:"The folder that the thumbnails go to; by default \"thumbnails\" in the other."`
	Size    int    `json:"size" default:"128" min:"16" max:"1024" doc:"The most pixels of a thumbnail's longer side."`
	Quality int    `json:"quality" default:"85" min:"1" max:"100" doc:"The quality of the JPEG files that are written."`
}

// Thumbnails makes thumbnails of the images in a folder.
type Thumbnails struct {
	sdk.BaseTask
	params Params
	files  []string // names of images in the folder
	made   int
}

// BeforeStart finds the images. If it fails, DoJob is left out.
func (t *Thumbnails) BeforeStart(context.Context) error {
	if err := t.Bind(&t.params); err != nil {
		return err
	}
	entries, err := os.ReadDir(t.params.Folder)
	if errors.Is(err, os.ErrNotExist) {
		return sdk.Permanent(err) // another attempt would not find it either
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".png", ".jpg", ".jpeg":
			t.files = append(t.files, e.Name())
		}
	}
	if t.params.To == "" {
		t.params.To = filepath.Join(t.params.Folder, "thumbnails")
	}
	return os.MkdirAll(t.params.To, 0o755)
}

// DoJob makes one thumbnail after the other. An attempt that was cut short has left only
// whole files, and another one writes them again.
func (t *Thumbnails) DoJob(ctx context.Context) (sdk.ReturnCode, error) {
	bad := 0
	for i, name := range t.files {
		if ctx.Err() != nil { // cancelled, or the time limit is near
			return sdk.Error, context.Cause(ctx)
		}
		t.Progress(float64(i)/float64(len(t.files)), name)
		if err := thumbnail(filepath.Join(t.params.Folder, name), t.target(name), t.params.Size, t.params.Quality); err != nil {
			bad++
			t.LogWarning("no thumbnail", "file", name, "error", err.Error())
			t.AddResponseLine(fmt.Sprintf("%s: %v.", name, err))
			continue
		}
		t.made++
	}
	t.Progress(1, "done")
	t.AddResponseLine(fmt.Sprintf("%d of %d thumbnails made", t.made, len(t.files)))
	if err := t.SetResult(map[string]any{"folder": t.params.To, "made": t.made}); err != nil {
		return sdk.Error, err
	}
	if bad > 0 {
		return sdk.Warning, nil
	}
	return sdk.Success, nil
}

// GetAdditionalMetaInfo adds to the task's record.
func (t *Thumbnails) GetAdditionalMetaInfo() map[string]any {
	return map[string]any{"images": len(t.files), "thumbnails": t.made}
}

// target returns the file of an image's thumbnail.
func (t *Thumbnails) target(name string) string { return filepath.Join(t.params.To, name+".jpg") }
