package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/backplane/leptir/internal/registry"
)

// onlyRedefinitions reports whether the parser complains of nothing but attributes that
// are there twice: then the rest of the file is well understood and can be checked too.
func onlyRedefinitions(diags hcl.Diagnostics) bool {
	for _, diag := range diags {
		if diag.Summary != "Attribute redefined" {
			return false
		}
	}
	return true
}

// lexicalMask finds what may be a secret in a file that could not be parsed in full: all
// that follows the name of a secret attribute of any kind, or a word like one, up to the
// end of its line or, within quotes, brackets and heredocs, of these.
func lexicalMask(src []byte, filename string, kinds Kinds) []hcl.Range {
	names := secretNames(kinds)
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos)
	var masked []hcl.Range
	known := map[string]bool{} // words looked at before
	sounds := func(word string) bool {
		secret, ok := known[word]
		if !ok {
			secret = soundsSecret(word, names)
			known[word] = secret
		}
		return secret
	}
	for i := 0; i < len(tokens); i++ {
		if !isName(tokens[i]) || !sounds(string(tokens[i].Bytes)) {
			continue
		}
		begin := i + 1
		if tokens[begin].Type == hclsyntax.TokenCQuote && begin+1 < len(tokens) { // "name" = …
			begin++
		}
		if t := tokens[begin].Type; (t == hclsyntax.TokenEqual || t == hclsyntax.TokenColon) && begin+1 < len(tokens) {
			begin++
		}
		depth, end := 0, begin
		for ; end < len(tokens) && depth >= 0; end++ {
			switch tokens[end].Type {
			case hclsyntax.TokenOBrace, hclsyntax.TokenOParen, hclsyntax.TokenOBrack, hclsyntax.TokenOQuote,
				hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl:
				depth++
			case hclsyntax.TokenCBrace, hclsyntax.TokenCParen, hclsyntax.TokenCBrack, hclsyntax.TokenCQuote,
				hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd:
				depth--
			case hclsyntax.TokenNewline:
				if depth == 0 {
					depth = -1
				}
			}
		}
		masked = append(masked, hcl.Range{
			Filename: filename,
			Start:    tokens[begin].Range.Start,
			End:      tokens[min(end, len(tokens))-1].Range.Start,
		})
		i = end - 1
	}
	return masked
}

func isName(t hclsyntax.Token) bool {
	return t.Type == hclsyntax.TokenIdent || t.Type == hclsyntax.TokenQuotedLit
}

// soundsSecret reports whether a word is, or may be meant as, the name of a secret.
func soundsSecret(word string, names []string) bool {
	if len(word) > maxShown {
		return false
	}
	word = strings.ToLower(word)
	if slices.Contains(names, word) || suggest(word, names) != "" {
		return true
	}
	return slices.ContainsFunc([]string{"pass", "pwd", "secret", "token", "key", "cred"}, func(part string) bool {
		return strings.Contains(word, part)
	})
}

// secretNames returns the names of all attributes that must not be shown.
func secretNames(kinds Kinds) []string {
	names := map[string]bool{}
	collect := func(settings any) {
		secretsOf(reflect.Indirect(reflect.ValueOf(settings)).Type(), names)
	}
	collect(Plugin{})
	eachKind(kinds.Brokers, collect)
	eachKind(kinds.MetaStorages, collect)
	eachKind(kinds.Loggers, collect)
	eachKind(kinds.ErrorReporting, collect)
	return slices.Sorted(maps.Keys(names))
}

func eachKind[S any](kinds *registry.Registry[S], do func(settings any)) {
	if kinds == nil {
		return
	}
	for _, name := range kinds.Names() {
		kind, _ := kinds.Kind(name)
		do(kind.New())
	}
}

// secretsOf adds the names of the secret fields of a settings struct type.
func secretsOf(t reflect.Type, names map[string]bool) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	fields, err := fieldsOf(t)
	if err != nil {
		return // reported where the struct is decoded
	}
	for _, f := range fields {
		if f.secret {
			names[f.name] = true
		}
		if f.form == formBlock {
			secretsOf(t.FieldByIndex(f.index).Type, names)
		}
	}
}
