package config

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// HCL's parser and evaluator descend once for each level of nesting and for each operator,
// with no bound of their own: a file made for it would overflow the stack, which ends the
// process. And they take time by the square of the parts of a text, of which a heredoc has
// one a line. So all that is counted first.
const (
	maxNesting   = 64
	maxOperators = 20_000
	maxParts     = 20_000
)

// checkBounds reports why a file is not even parsed, nil if it can be.
func checkBounds(src []byte, filename string) *hcl.Diagnostic {
	refuse := func(at *hcl.Range, format string, args ...any) *hcl.Diagnostic {
		return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf(format, args...), Subject: at}
	}
	if len(src) > MaxFileBytes {
		return refuse(nil, "the file is larger than %s", formatBytes(MaxFileBytes))
	}
	if at := invalidUTF8(src, filename); at != nil {
		return refuse(at, "the file is not UTF-8 text")
	}
	if bytes.Count(src, []byte("<<")) > maxParts {
		return refuse(nil, "the file has more than %d heredocs", maxParts)
	}
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports what is wrong
	depth, operators, parts := 0, 0, 0
	var previous hclsyntax.TokenType
	for _, token := range tokens {
		switch token.Type {
		case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
			depth++
			operators++ // a bracket may be an index; counted too where none is closed
		case hclsyntax.TokenOQuote, hclsyntax.TokenOHeredoc:
			depth++
		case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCQuote,
			hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
			depth = max(0, depth-1)
		case hclsyntax.TokenQuotedLit, hclsyntax.TokenStringLit:
			if previous == token.Type {
				parts++
			}
		case hclsyntax.TokenIdent, hclsyntax.TokenNumberLit, hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenComma,
			hclsyntax.TokenEqual, hclsyntax.TokenEOF:
		default:
			operators++
		}
		previous = token.Type
		if depth > maxNesting {
			return refuse(&token.Range, "brackets, quotes and blocks are nested more than %d deep", maxNesting)
		}
		if operators > maxOperators {
			return refuse(&token.Range, "the file has more than %d operators and brackets", maxOperators)
		}
		if parts > maxParts {
			return refuse(&token.Range, "the texts of the file have more than %d lines or parts", maxParts)
		}
	}
	return nil
}

// invalidUTF8 returns the place of the first byte that is not UTF-8 text, nil if there is
// none.
func invalidUTF8(src []byte, filename string) *hcl.Range {
	if utf8.Valid(src) {
		return nil
	}
	at := hcl.InitialPos
	for at.Byte < len(src) {
		r, size := utf8.DecodeRune(src[at.Byte:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at.Byte += size
		at.Column++
		if r == '\n' {
			at.Line, at.Column = at.Line+1, 1
		}
	}
	end := at
	end.Byte++
	end.Column++
	return &hcl.Range{Filename: filename, Start: at, End: end}
}

// refuseLoops reports "for" expressions, which could take for ever and for which a
// configuration has no use, and numbers that would be written with thousands of digits.
func (r *reader) refuseLoops(body *hclsyntax.Body) {
	_ = hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		switch node := node.(type) {
		case *hclsyntax.ForExpr:
			r.errorf(node.Range(), `"for" is not available here; write the elements out`)
		case *hclsyntax.LiteralValueExpr:
			if node.Val.IsNull() || node.Val.Type() != cty.Number {
				break
			}
			number := node.Val.AsBigFloat()
			if e := number.MantExp(nil); number.IsInf() || e > 1024 || e < -1100 { // more than a float64 holds
				r.errorf(node.Range(), "the number is out of range")
			}
		}
		return nil
	})
}
