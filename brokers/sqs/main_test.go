package sqs

import (
	"flag"
	"testing"

	"github.com/backplane/leptir/internal/testservers/sqstest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "32") // the suite sleeps more than it works
	sqstest.Main(m)
}
