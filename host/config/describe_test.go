package config_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/backplane/leptir/host/config"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	docs := config.Describe(testKinds())
	var order []string
	byKind := map[string]config.BlockDoc{}
	for _, d := range docs {
		order = append(order, d.Name+"/"+d.Kind)
		byKind[d.Name+"/"+d.Kind] = d
	}
	require.Equal(t, []string{
		"/", "host/", "admin/", "broker/server", "broker/sqlite", "meta_storage/keys", "meta_storage/sqlite",
		"logger/file", "logger/journal", "logger/stderr", "logger/stdout", "logger/syslog",
		"error_reporting/log", "error_reporting/plugin", "error_reporting/sentry", "error_reporting/webhook", "plugin/",
	}, order)

	require.Contains(t, byKind["host/"].Attributes, config.AttributeDoc{
		Name: "number_of_workers", Type: "whole number", Default: "4", Min: "1", Max: "10000",
		Doc: "The most tasks that run at once.",
	})
	host := attribute(t, byKind["host/"], "name")
	require.Equal(t, "the machine's host name", host.Default)
	require.True(t, host.DefaultInWords)
	require.Equal(t, `"10m"`, attribute(t, byKind["host/"], "task_execution_time").Default)
	require.Equal(t, `"plugins"`, attribute(t, byKind["host/"], "plugin_dir").Default)

	sqlite := byKind["broker/sqlite"]
	require.Equal(t, "priority", sqlite.Attributes[0].Name)
	require.Equal(t, "0", sqlite.Attributes[0].Default)
	require.Equal(t, []string{"full", "normal"}, attribute(t, sqlite, "synchronous").OneOf)
	require.Equal(t, `"2MiB"`, attribute(t, sqlite, "cache_size").Default)
	require.Equal(t, "A file.", sqlite.Doc)
	require.True(t, sqlite.Many)

	server := byKind["broker/server"]
	require.Equal(t, "3", attribute(t, server, "retries").Default, "of an embedded struct")
	require.True(t, attribute(t, server, "uri").Secret)
	require.Equal(t, `["tasks"]`, attribute(t, server, "queues").Default)
	require.Len(t, server.Blocks, 2)
	require.Equal(t, "connection", server.Blocks[0].Name)
	require.True(t, attribute(t, server.Blocks[0], "address").Required)
	require.Equal(t, "pool", server.Blocks[0].Blocks[0].Name)

	require.Equal(t, []string{"its kind", "its name"}, byKind["logger/file"].Labels)
	require.Equal(t, `"info"`, attribute(t, byKind["logger/file"], "level").Default)
	require.Equal(t, "the host's", attribute(t, byKind["plugin/"], "kill_grace").Default)
}

// TestEverythingIsDocumented keeps the reference complete.
func TestEverythingIsDocumented(t *testing.T) {
	t.Parallel()
	for _, d := range config.Describe(testKinds()) {
		requireDocumented(t, d)
	}
	require.Len(t, config.Describe(config.Kinds{}), 4)
}

// requireDocumented checks that a block and all in it are explained in sentences.
func requireDocumented(t *testing.T, d config.BlockDoc) {
	t.Helper()
	require.NotEmpty(t, d.Doc, "block %q %q", d.Name, d.Kind)
	for _, a := range d.Attributes {
		require.Regexp(t, `^[A-Z"].*[.]$`, a.Doc, "attribute %q of block %q %q", a.Name, d.Name, d.Kind)
		require.NotEmpty(t, a.Type)
	}
	for _, inner := range d.Blocks {
		requireDocumented(t, inner)
	}
}

func attribute(t *testing.T, d config.BlockDoc, name string) config.AttributeDoc {
	t.Helper()
	for _, a := range d.Attributes {
		if a.Name == name {
			return a
		}
	}
	require.Fail(t, "no such attribute", name)
	return config.AttributeDoc{}
}
