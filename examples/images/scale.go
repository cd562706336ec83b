package main

import (
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	_ "image/png" // decodes PNG
	"os"
	"path/filepath"
)

// maxPixels bounds the images that are read: a small file can say that it is huge.
const maxPixels = 64 << 20

// thumbnail writes a small copy of an image. A file that is there is replaced at once, when
// the new one is whole.
func thumbnail(from, to string, size, quality int) error {
	img, err := read(from)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(to), ".thumbnail-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has its name
	err = jpeg.Encode(file, shrink(img, size), &jpeg.Options{Quality: quality})
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), to)
}

// read decodes an image, after a look at how large it says it is.
func read(path string) (image.Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	head, _, err := image.DecodeConfig(file)
	if err != nil {
		return nil, err
	}
	if int64(head.Width)*int64(head.Height) > maxPixels {
		return nil, fmt.Errorf("%d by %d pixels are too many", head.Width, head.Height)
	}
	if _, err := file.Seek(0, 0); err != nil {
		return nil, err
	}
	img, _, err := image.Decode(file)
	return img, err
}

// shrink returns the image with its longer side at most size pixels long: each pixel is the
// mean of those that it stands for.
func shrink(img image.Image, size int) image.Image {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	if longer := max(w, h); longer > size {
		w, h = max(1, w*size/longer), max(1, h*size/longer)
	}
	small := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			area := image.Rect(b.Min.X+x*b.Dx()/w, b.Min.Y+y*b.Dy()/h, b.Min.X+(x+1)*b.Dx()/w, b.Min.Y+(y+1)*b.Dy()/h)
			small.Set(x, y, mean(img, area))
		}
	}
	return small
}

// mean returns the mean colour of an area of an image.
func mean(img image.Image, area image.Rectangle) color.Color {
	var r, g, b, a uint64
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			cr, cg, cb, ca := img.At(x, y).RGBA()
			r, g, b, a = r+uint64(cr), g+uint64(cg), b+uint64(cb), a+uint64(ca)
		}
	}
	n := uint64(area.Dx() * area.Dy())
	return color.RGBA64{R: uint16(r / n), G: uint16(g / n), B: uint16(b / n), A: uint16(a / n)}
}
