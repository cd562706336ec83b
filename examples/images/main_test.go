package main

import (
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	sdk "github.com/backplane/leptir/plugin-sdk"
	"github.com/backplane/leptir/plugin-sdk/sdktest"
)

// folder makes a folder with a red PNG of 300 by 200 pixels and a JPEG of 10 by 40.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, w, h int, encode func(*os.File, image.Image) error) {
		img := image.NewRGBA(image.Rect(0, 0, w, h))
		for i := range w * h {
			img.Set(i%w, i/w, color.RGBA{R: 255, A: 255})
		}
		file, err := os.Create(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, encode(file, img))
		require.NoError(t, file.Close())
	}
	write("a.png", 300, 200, func(f *os.File, img image.Image) error { return png.Encode(f, img) })
	write("b.JPG", 10, 40, func(f *os.File, img image.Image) error { return jpeg.Encode(f, img, nil) })
	require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("no image"), 0o600))
	return dir
}

// requireThumbnail looks at a thumbnail: its size, and that it is red.
func requireThumbnail(t *testing.T, path string, w, h int) {
	t.Helper()
	img, err := read(path)
	require.NoError(t, err)
	require.Equal(t, image.Pt(w, h), img.Bounds().Size())
	r, g, b, _ := img.At(w/2, h/2).RGBA()
	require.Greater(t, r, uint32(0xf000))
	require.Less(t, g+b, uint32(0x2000))
}

func TestThumbnails(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	o := sdktest.Run(t, thumbnails, Params{Folder: dir, Size: 30, Quality: 90}).WantSuccess().
		WantResponse("2 of 2 thumbnails made").
		WantResult(map[string]any{"folder": filepath.Join(dir, "thumbnails"), "made": 2}).
		WantMeta("images", 2).WantMeta("thumbnails", 2).
		WantProgress(1, "done")
	require.Equal(t, []sdk.Progress{{Fraction: 0, Text: "a.png"}, {Fraction: 0.5, Text: "b.JPG"}, {Fraction: 1, Text: "done"}}, o.Progress)
	requireThumbnail(t, filepath.Join(dir, "thumbnails", "a.png.jpg"), 30, 20)
	requireThumbnail(t, filepath.Join(dir, "thumbnails", "b.JPG.jpg"), 7, 30)
}

func TestAFileThatIsNoImage(t *testing.T) {
	t.Parallel()
	dir, to := folder(t), filepath.Join(t.TempDir(), "to")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.png"), []byte("no PNG"), 0o600))
	sdktest.Run(t, thumbnails, map[string]any{"folder": dir, "to": to}).WantCode(sdk.Warning).
		WantResponse("broken.png: image: unknown format.", "2 of 3 thumbnails made").
		WantLog(slog.LevelWarn, "no thumbnail", "file", "broken.png")
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	require.Len(t, entries, 2, "no half file is left")
}

func TestAHugeImage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	// The head of a PNG that says it is 60,000 by 60,000 pixels large.
	head := "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00\x0f\xb0\xe2\x15"
	path := filepath.Join(dir, "huge.png")
	require.NoError(t, os.WriteFile(path, []byte(head), 0o600))
	_, err := read(path)
	require.EqualError(t, err, "60000 by 60000 pixels are too many")
}

func TestParametersAreRefused(t *testing.T) {
	t.Parallel()
	sdktest.Run(t, thumbnails, nil).WantInputError("folder")
	sdktest.Run(t, thumbnails, map[string]any{"folder": "x", "size": 8}).WantInputError("size")
	o := sdktest.Run(t, thumbnails, map[string]any{"folder": filepath.Join(t.TempDir(), "nowhere")}).WantFailure("error", "no such file")
	require.True(t, o.Failure.Permanent)
}

func TestPlugin(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	path := sdktest.Build(t, ".")
	plugin := sdktest.Binary(t, path)
	plugin.Run("images.thumbnails", map[string]any{"folder": dir, "size": 30}).WantSuccess().WantResponse("2 of 2 thumbnails made")
	requireThumbnail(t, filepath.Join(dir, "thumbnails", "a.png.jpg"), 30, 20)
}
