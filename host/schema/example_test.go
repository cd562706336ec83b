package schema_test

import (
	"fmt"

	"github.com/backplane/leptir/host/schema"
)

func ExampleSchema_Check() {
	s, err := schema.Compile([]byte(`{"properties":{"to":{"type":"string"},"copies":{"type":"integer","minimum":1}},"required":["to"]}`))
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Check([]byte(`{"to":"ann"}`)))
	fmt.Println(s.Check([]byte(`{"copies":0}`)))
	// Output:
	// <nil>
	// parameter "to": not defined; parameter "copies": less than 1: 0
}
