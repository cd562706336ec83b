package config

import (
	"errors"
	"fmt"
	"os"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// newEvalContext returns what expressions of the file can use: the function env.
func newEvalContext() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: map[string]function.Function{"env": envFunction}}
}

// envError says that a variable of the environment is missing.
type envError struct{ name string }

func (e envError) Error() string {
	return fmt.Sprintf("the environment variable %s is not set, and env(%q) names no default", short(e.name), short(e.name))
}

// envFunction is env("NAME") and env("NAME", "default"). A variable that is set to the
// empty text is set.
var envFunction = function.New(&function.Spec{
	Description: "the value of an environment variable of the host",
	Params:      []function.Parameter{{Name: "name", Type: cty.String}},
	VarParam:    &function.Parameter{Name: "default", Type: cty.String},
	Type:        function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if len(args) > 2 {
			return cty.NilVal, errors.New("env takes a name and at most one default")
		}
		name := args[0].AsString()
		if value, ok := os.LookupEnv(name); ok {
			return cty.StringVal(value), nil
		}
		if len(args) == 2 {
			return args[1], nil
		}
		return cty.NilVal, envError{name}
	},
})

// value evaluates an expression; what names the attribute in messages. Of a secret,
// messages tell only what cannot hold it.
func (d *decoder) value(expr hclsyntax.Expression, what string, secret bool) (cty.Value, bool) {
	val, diags := expr.Value(d.eval)
	if !diags.HasErrors() {
		if val.IsWhollyKnown() {
			return val, true
		}
		d.errorf(expr.Range(), "%s has no value that is known when the file is read", what)
		return cty.NilVal, false
	}
	for _, diag := range diags {
		at := expr.Range()
		if diag.Subject != nil {
			at = *diag.Subject
		}
		d.errorf(at, "%s: %s", what, evalMessage(diag, expr, secret))
	}
	return cty.NilVal, false
}

// evalMessage says in our words why an expression has no value.
func evalMessage(diag *hcl.Diagnostic, expr hclsyntax.Expression, secret bool) string {
	if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](diag); ok {
		if err := call.FunctionCallError(); err != nil {
			var missing envError
			if errors.As(err, &missing) || !secret {
				return err.Error()
			}
		}
	}
	if secret {
		return "the value cannot be evaluated; write a text in quotes or env(\"NAME\")"
	}
	if word := hcl.ExprAsKeyword(expr); word != "" {
		return fmt.Sprintf("%s is not a value; if it is a text, write it in quotes: %q", short(word), short(word))
	}
	return lowerFirst(diag.Detail)
}

// lowerFirst makes a sentence of HCL the second part of one of ours.
func lowerFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if size == 0 {
		return s
	}
	return string(unicode.ToLower(first)) + s[size:]
}
