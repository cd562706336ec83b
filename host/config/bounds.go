package config

import (
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// HCL's parser and evaluator descend once for each level of nesting and for each operator,
// with no bound of their own: a file made for it would overflow the stack, which ends the
// process. So what makes them descend is counted first.
const (
	maxNesting   = 64
	maxOperators = 20_000
)

// checkBounds reports why a file is not even parsed.
func checkBounds(src []byte, filename string) error {
	if len(src) > MaxFileBytes {
		return fmt.Errorf("the file is larger than %s", formatBytes(MaxFileBytes))
	}
	if !utf8.Valid(src) {
		return fmt.Errorf("the file is not valid UTF-8 text")
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports what is wrong
	depth, operators := 0, 0
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOQuote,
			hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
			if token.Type != hclsyntax.TokenOQuote && token.Type != hclsyntax.TokenOHeredoc {
				operators++ // a bracket may be an index; counted too where none is closed
			}
		case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit,
			hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenComma, hclsyntax.TokenEqual, hclsyntax.TokenEOF:
			continue
		default:
			operators++
		}
		if depth > maxNesting {
			return fmt.Errorf("line %d: brackets, quotes and blocks are nested more than %d deep", token.Range.Start.Line, maxNesting)
		}
		if operators > maxOperators {
			return fmt.Errorf("line %d: the file has more than %d operators and brackets", token.Range.Start.Line, maxOperators)
		}
	}
	return nil
}

// refuseLoops reports "for" expressions, which could take for ever and for which a
// configuration has no use, and numbers that would be written with thousands of digits.
func (r *reader) refuseLoops(body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		switch node := node.(type) {
		case *hclsyntax.ForExpr:
			r.errorf(node.Range(), `"for" is not available here; write the elements out`)
		case *hclsyntax.LiteralValueExpr:
			if number := node.Val; !number.IsNull() && number.Type().FriendlyName() == "number" {
				if e := number.AsBigFloat().MantExp(nil); e > 1024 || e < -1100 {
					r.errorf(node.Range(), "the number is out of range")
				}
			}
		}
		return nil
	})
}
