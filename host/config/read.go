package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/internal/registry"
	"github.com/backplane/leptir/task"
)

// The blocks of the top level.
const (
	blockHost        = "host"
	blockAdmin       = "admin"
	blockBroker      = "broker"
	blockMetaStorage = "meta_storage"
	blockLogger      = "logger"
	blockPlugin      = "plugin"

	blockErrorReporting = "error_reporting"
)

// attributeTaskAlias is the attribute of the top level.
const attributeTaskAlias = "task_alias"

var blockNames = []string{blockHost, blockAdmin, blockBroker, blockMetaStorage, blockLogger, blockErrorReporting, blockPlugin}

// standIns are the kinds and names of what a file without such a block gets.
var standIns = map[string][]string{
	blockBroker:      {"sqlite", "default"},
	blockMetaStorage: {"sqlite", "records"},
	blockLogger:      {"stderr", "console"},

	blockErrorReporting: {"log", "log"},
}

// maxLabel is the longest name that a block can have, in bytes.
const maxLabel = 64

// reader turns the body of a file into a Config.
type reader struct {
	decoder
	config *Config
	kinds  Kinds
	start  hcl.Range // the beginning of the file, where what is missing is reported
	// names are the block names taken so far, by block, and where.
	names map[[2]string]hcl.Range
}

// file reads the whole file. Blocks may stand in any order: the host block, from which
// others inherit, is read first.
func (r *reader) file(body *hclsyntax.Body) {
	r.topLevel(body)
	blocks := map[string][]*hclsyntax.Block{}
	secrets := secretNames(r.kinds)
	for _, block := range body.Blocks {
		if !slices.Contains(blockNames, block.Type) {
			if soundsSecret(block.Type, secrets) {
				r.maskBlock(block)
			} else {
				r.maskBody(block.Body)
			}
			hint := didYouMeanOr(block.Type, blockNames, "blocks")
			if block.Type == attributeTaskAlias {
				hint = "; task_alias is an attribute: write task_alias = { … }"
			}
			r.errorf(block.TypeRange, "there is no block %q%s", short(block.Type), hint)
			continue
		}
		blocks[block.Type] = append(blocks[block.Type], block)
	}
	r.host(blocks[blockHost])
	r.admin(blocks[blockAdmin])
	places := map[string]string{} // the queues, and which block named each first
	for _, block := range r.orStandIn(blockBroker, blocks[blockBroker], r.kinds.Brokers.Names()) {
		common := defaultBrokerCommon()
		if b, ok := kindBlock(r, block, r.kinds.Brokers, &common); ok {
			r.config.Brokers = append(r.config.Brokers, Broker{b.kind, b.name, common.Priority, common.TaskCountCachingTime, common.DeadRetention,
				startFailure(common.OnStartFailure, isServer(r.kinds.Brokers, b.kind)), b.settings})
			if p, ok := b.settings.(brokers.Placer); ok {
				place := b.kind + " " + p.Place()
				if first, twice := places[place]; twice {
					r.errorf(block.TypeRange, "broker %q %q is the same queue as broker %q; each needs its own", b.kind, short(b.name), short(first))
				}
				places[place] = b.name
			}
		}
	}
	for _, block := range r.orStandIn(blockMetaStorage, blocks[blockMetaStorage], r.kinds.MetaStorages.Names()) {
		common := defaultMetaStorageCommon()
		if b, ok := kindBlock(r, block, r.kinds.MetaStorages, &common); ok {
			r.config.MetaStorages = append(r.config.MetaStorages, MetaStorage{b.kind, b.name, common.OnFailure,
				startFailure(common.OnStartFailure, isServer(r.kinds.MetaStorages, b.kind)), b.settings})
		}
	}
	for _, block := range r.orStandIn(blockLogger, blocks[blockLogger], r.kinds.Loggers.Names()) {
		if b, ok := kindBlock(r, block, r.kinds.Loggers); ok {
			r.config.Loggers = append(r.config.Loggers, Logger{b.kind, b.name, b.settings})
		}
	}
	reporting := blocks[blockErrorReporting]
	if _, ok := r.kinds.ErrorReporting.Kind(standIns[blockErrorReporting][0]); ok { // a program need not have any
		reporting = r.orStandIn(blockErrorReporting, reporting, r.kinds.ErrorReporting.Names())
	}
	for _, block := range reporting {
		common := defaultErrorReportingCommon()
		if b, ok := kindBlock(r, block, r.kinds.ErrorReporting, &common); ok {
			r.config.ErrorReporting = append(r.config.ErrorReporting, ErrorReporting{b.kind, b.name, common.Queue, common.Timeout,
				common.Redact, common.Parameters, b.settings})
		}
	}
	for _, block := range blocks[blockPlugin] {
		r.plugin(block)
	}
}

// topLevel reads what stands outside all blocks.
func (r *reader) topLevel(body *hclsyntax.Body) {
	var top topLevel
	where := place{name: "the top level", at: r.start, elsewhere: func(attribute string) string {
		if slices.Contains(blockNames, attribute) {
			return fmt.Sprintf("; %s is a block: write %s { … }", attribute, attribute)
		}
		if fields, _ := fieldsOf(reflect.TypeFor[Host]()); slices.ContainsFunc(fields, func(f field) bool { return f.name == attribute }) {
			return "; it belongs in the host block"
		}
		return ""
	}}
	r.decode(&hclsyntax.Body{Attributes: body.Attributes}, where, &top)
	for _, old := range slices.Sorted(maps.Keys(top.TaskAlias)) {
		if err := task.ValidateType(top.TaskAlias[old]); err != nil {
			at := body.Attributes[attributeTaskAlias].NameRange
			r.errorf(at, "task_alias of %q: %v", short(old), err)
		}
	}
	r.config.TaskAlias = top.TaskAlias
}

// host reads the host block, which need not be there.
func (r *reader) host(blocks []*hclsyntax.Block) {
	r.config.Host = defaultHost()
	if len(blocks) == 0 {
		blocks = []*hclsyntax.Block{{Type: blockHost, Body: &hclsyntax.Body{}, TypeRange: r.start}}
	}
	for i, block := range blocks {
		where := place{name: blockHost, at: block.DefRange()}
		if len(block.Labels) > 0 {
			r.errorf(block.LabelRanges[0], "the host block takes no label")
		}
		if i > 0 {
			r.errorf(where.at, "there is a second host block; the first is at line %d", blocks[0].TypeRange.Start.Line)
		}
		if r.decode(block.Body, where, &r.config.Host) {
			r.validate(&r.config.Host, where)
		}
	}
}

// plugin reads one plugin block.
func (r *reader) plugin(block *hclsyntax.Block) {
	p := r.config.PluginDefaults()
	where, ok := r.labels(block, "its name", `plugin "demo"`)
	if ok {
		p.Name = block.Labels[0]
	}
	if r.decode(block.Body, where, &p) && r.validate(&p, where) && ok {
		if p.MaxProcesses == 0 {
			p.MaxProcesses = r.config.Host.NumberOfWorkers
		}
		r.config.Plugins[p.Name] = p
	}
}

// orStandIn returns the blocks, or the one that stands in for none. known are the kinds
// that there are.
func (r *reader) orStandIn(typ string, blocks []*hclsyntax.Block, known []string) []*hclsyntax.Block {
	if len(blocks) > 0 {
		return blocks
	}
	labels := standIns[typ]
	if !slices.Contains(known, labels[0]) {
		r.errorf(r.start, "there is no %s block, and the default kind %q is not part of this program%s", typ, labels[0], listed(known, "kinds"))
		return nil
	}
	return []*hclsyntax.Block{{
		Type: typ, TypeRange: r.start,
		Labels: labels, LabelRanges: []hcl.Range{r.start, r.start},
		Body: &hclsyntax.Body{},
	}}
}

// kindOf is a block of some kind, decoded.
type kindOf[S any] struct {
	kind, name string
	settings   S
}

// kindBlock reads one block of a kind of the registry: the settings that all kinds have
// in common go to common, the others to a new settings struct of the kind.
func kindBlock[S any](r *reader, block *hclsyntax.Block, kinds *registry.Registry[S], common ...any) (kindOf[S], bool) {
	where, ok := r.labels(block, "its kind and its name", fmt.Sprintf("%s %q %q", block.Type, standIns[block.Type][0], standIns[block.Type][1]))
	if !ok {
		r.maskBody(block.Body)
		return kindOf[S]{}, false
	}
	kind, known := kinds.Kind(block.Labels[0])
	if !known {
		r.maskBody(block.Body)
		r.errorf(block.LabelRanges[0], "there is no %s of the kind %q%s", block.Type, short(block.Labels[0]), didYouMeanOr(block.Labels[0], kinds.Names(), "kinds"))
		return kindOf[S]{}, false
	}
	b := kindOf[S]{kind: kind.Name, name: block.Labels[1], settings: kind.New()}
	ok = r.decode(block.Body, where, append(slices.Clone(common), b.settings)...)
	return b, ok && r.validate(b.settings, where)
}

// labels checks the labels of a block: as many as in the example, the last one a name
// that no other such block has. It returns the block's name for messages.
func (r *reader) labels(block *hclsyntax.Block, what, example string) (place, bool) {
	where := place{name: block.Type, at: block.DefRange()}
	want := strings.Count(example, `"`) / 2
	for _, label := range block.Labels[:min(want, len(block.Labels))] {
		where.name += " " + strconv.Quote(short(label))
	}
	switch {
	case len(block.Labels) < want:
		r.errorf(where.at, "%s must be followed by %s: %s { … }", block.Type, what, example)
		return where, false
	case len(block.Labels) > want:
		r.errorf(block.LabelRanges[want], "%s must be followed by no more than %s: %s { … }", block.Type, what, example)
		return where, false
	}
	name, at := block.Labels[want-1], block.LabelRanges[want-1]
	if err := validLabel(name); err != nil {
		r.errorf(at, "%s: %v", where.name, err)
		return where, true
	}
	key := [2]string{block.Type, name}
	if first, taken := r.names[key]; taken {
		r.errorf(at, "there is a second %s named %q; the first is at line %d", block.Type, name, first.Start.Line)
		return where, true
	}
	r.names[key] = at
	return where, true
}

// validLabel reports why a text cannot be the name of a block: names stand in logs,
// metrics, addresses and file names.
func validLabel(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name must not be empty")
	case len(name) > maxLabel:
		return fmt.Errorf("the name is %d bytes long, at most %d are allowed", len(name), maxLabel)
	case name[0] == '.':
		return fmt.Errorf("the name must not begin with a dot")
	}
	for _, c := range name {
		ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
		if !ok {
			return fmt.Errorf("the name may have letters, digits, dots, underscores and dashes only")
		}
	}
	return nil
}

// validate calls the Validate method of settings that have one, and reports what it
// says, without the secrets that it may repeat.
func (r *reader) validate(settings any, where place) bool {
	v, ok := settings.(interface{ Validate() error })
	if !ok {
		return true
	}
	err := v.Validate()
	if err == nil {
		return true
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		r.errorf(where.at, "%s: %s", where.name, redact(err.Error(), reflect.ValueOf(settings)))
	}
	return false
}

// redact replaces the secrets of a settings struct in a text.
func redact(s string, settings reflect.Value) string {
	hide := func(secret string) {
		if len(secret) < 3 { // nothing would be left of the message
			return
		}
		quoted := strconv.Quote(secret)
		s = strings.ReplaceAll(s, secret, "***")
		s = strings.ReplaceAll(s, quoted[1:len(quoted)-1], "***")
	}
	eachField(reflect.Indirect(settings), func(f field, v reflect.Value) {
		switch {
		case !f.secret:
		case f.form == formMap:
			for _, key := range v.MapKeys() {
				hide(v.MapIndex(key).String())
			}
		case f.form == formList:
			for i := range v.Len() {
				hide(v.Index(i).String())
			}
		default:
			hide(v.String())
		}
	})
	return s
}

// didYouMeanOr returns the end of a message about an unknown name of a set small enough
// to be listed.
func didYouMeanOr(typed string, known []string, what string) string {
	if hint := didYouMean(typed, known); hint != "" {
		return hint
	}
	return listed(known, what)
}

func listed(known []string, what string) string {
	if len(known) == 0 {
		return fmt.Sprintf("; there are no %s", what)
	}
	return fmt.Sprintf("; the %s are %s", what, quotedList(known))
}

func isServer[S any](kinds *registry.Registry[S], name string) bool {
	kind, _ := kinds.Kind(name)
	return kind.Server
}
