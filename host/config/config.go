// Package config owns leptir.hcl: the schema of the file, the defaults, and diagnostics
// that say what is wrong at which line. It turns a file into a Config and knows nothing
// of how anything in it runs; the settings of brokers, meta storages and loggers are
// structs of their packages, decoded by their tags (see package settings) and handed on.
package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/host/logging"
	"github.com/backplane/leptir/host/report"
	"github.com/backplane/leptir/internal/settings"
	"github.com/backplane/leptir/metastore"
)

// Config is all that a configuration file says, defaults filled in. It is plain data;
// nothing in it is open or running. Every settings.Path in it is absolute.
type Config struct {
	// Path is the absolute path of the file, "" where there is none; Dir is the folder
	// that relative paths are taken from.
	Path string
	Dir  string
	// TaskAlias maps task types as old producers write them (PHP class names) to the
	// types that plugins serve.
	TaskAlias map[string]string
	Host      Host
	Admin     Admin
	// Brokers, MetaStorages, Loggers and ErrorReporting are in the order of the file; there
	// is at least one of each. Names are unique in each.
	Brokers        []Broker
	MetaStorages   []MetaStorage
	Loggers        []Logger
	ErrorReporting []ErrorReporting
	// Plugins holds the settings of the plugins that have a block, by name. Use Plugin
	// to get those of any plugin.
	Plugins map[string]Plugin
}

// Kinds says which kinds of back ends a configuration may name. A nil registry stands for
// an empty one.
type Kinds struct {
	Brokers        *brokers.Registry
	MetaStorages   *metastore.Registry
	Loggers        *logging.Registry
	ErrorReporting *report.Registry
}

// Broker is one broker block.
type Broker struct {
	Kind, Name string
	// Priority is the broker's priority number; a lower one is more urgent.
	Priority int
	// TaskCountCachingTime is how long the number of waiting tasks is remembered; 0: it
	// is not.
	TaskCountCachingTime time.Duration
	// DeadRetention is how long dead letters are kept; 0 is for ever.
	DeadRetention time.Duration
	// OnStartFailure is OnStartFailureWait or OnStartFailureExit.
	OnStartFailure string
	// Settings are the kind's own.
	Settings brokers.Settings
}

// What OnStartFailure can be. The default is to wait for what lives in a server, and to
// exit where a file cannot be opened.
const (
	// OnStartFailureWait lets the host run without it and try again.
	OnStartFailureWait = "wait"
	// OnStartFailureExit ends the host.
	OnStartFailureExit = "exit"
)

// startFailure returns what holds where the configuration says said.
func startFailure(said string, server bool) string {
	switch {
	case said != "":
		return said
	case server:
		return OnStartFailureWait
	}
	return OnStartFailureExit
}

// What a meta storage's OnFailure can be.
const (
	// OnFailureWait keeps a task leased until its record is written.
	OnFailureWait = "wait"
	// OnFailureDrop goes on without the record.
	OnFailureDrop = "drop"
)

// MetaStorage is one meta_storage block.
type MetaStorage struct {
	Kind, Name string
	// OnFailure is OnFailureWait or OnFailureDrop.
	OnFailure string
	// OnStartFailure is OnStartFailureWait or OnStartFailureExit.
	OnStartFailure string
	// Settings are the kind's own.
	Settings metastore.Settings
}

// Logger is one logger block.
type Logger struct {
	Kind, Name string
	// Settings are the kind's own.
	Settings logging.Settings
}

// ErrorReporting is one error_reporting block.
type ErrorReporting struct {
	Kind, Name string
	// Queue is how many reports may wait for it, Timeout how long it may take for those
	// that it is handed at once.
	Queue   int
	Timeout time.Duration
	// Redact are words that hide a value whose key has one in it, beside
	// report.DefaultRedact. Parameters says whether it is shown those of tasks at all.
	Redact     []string
	Parameters bool
	// Settings are the kind's own.
	Settings report.Settings
}

// Host is the host block. Of all durations, 0 means none.
type Host struct {
	Name                   string        `config:"name" default:"the machine's host name" doc:"The name of this host in records, logs and metrics."`
	TaskExecutionTime      time.Duration `config:"task_execution_time" doc:"The most time that a task may run before it is killed; 0 is no limit. A task's own limit wins over it, a plugin's over both defaults."`
	NumberOfWorkers        int           `config:"number_of_workers" min:"1" max:"10000" doc:"The most tasks that run at once."`
	EmptyQueueSleepTime    time.Duration `config:"empty_queue_sleep_time" doc:"How long to sleep when every queue is empty; 0 is not at all. It saves queries of brokers that charge for them."`
	WorkersActiveSleepTime time.Duration `config:"workers_active_sleep_time" doc:"How long to sleep when all workers are busy; 0 is not at all."`
	PluginDir              settings.Path `config:"plugin_dir" doc:"The folder of the plugin binaries."`
	PluginLock             settings.Path `config:"plugin_lock" doc:"The lock file, which pins plugin binaries by their sha256. Where it is there, no other binary is started. \"leptirctl plugins lock\" writes it."`
	StateDir               settings.Path `config:"state_dir" doc:"The folder of the host's own files: staged plugins, sockets, scratch. It is made if need be, for the host's user only."`
	LeaseTime              time.Duration `config:"lease_time" min:"1s" doc:"How long a broker holds a task for this host before it gives it to another; renewed for as long as the task lives. A dead host's tasks start elsewhere after this time."`
	ShutdownTimeout        time.Duration `config:"shutdown_timeout" doc:"How long a stopping host waits for running tasks before it gives them back to their brokers; 0 is not at all."`
	KillGrace              time.Duration `config:"kill_grace" doc:"How long before its time limit a task's context is cancelled, so that it can end by itself before it is killed; 0 is no warning."`
	MaxAttempts            int           `config:"max_attempts" min:"1" max:"1000" doc:"How often a task that fails is attempted before it joins the dead letters; 1 is no retry. A plugin's wins over it, a task's own over both."`
	RetryBackoff           time.Duration `config:"retry_backoff" doc:"The most time between a task's first attempt and its second. It doubles with each attempt; the time is drawn at random below it. 0 is no wait."`
	RetryBackoffMax        time.Duration `config:"retry_backoff_max" doc:"The most that retry_backoff grows to."`
	MaxCrashes             int           `config:"max_crashes" min:"1" max:"1000" doc:"How many processes a task may crash, and hosts it may lose, all its attempts together, before it joins the dead letters."`
	CgroupParent           string        `config:"cgroup_parent" default:"the host's own" doc:"The control group below which groups for plugin processes are made, as a path from the top of the hierarchy. It must be the host's to write; with systemd, Delegate=yes makes its own so."`
	Limits                 Limits        `config:"limits,block" doc:"What every process of a plugin is held to, unless the plugin's own limits block says otherwise."`
}

// What a plugin's Isolation can be.
const (
	// IsolationPooled uses a process for many tasks, one after the other.
	IsolationPooled = "pooled"
	// IsolationFresh gives every task a new process.
	IsolationFresh = "fresh"
)

// What a plugin's TLS can be.
const (
	TLSOff  = "off"
	TLSAuto = "auto"
)

// Plugin is one plugin block, or what holds for a plugin without one; what it takes from
// the host block is filled in.
type Plugin struct {
	// Name is the block's label: the plugin's file name without its ending.
	Name              string
	Isolation         string            `config:"isolation" oneof:"pooled|fresh" doc:"\"pooled\": a process runs many tasks, one after the other. \"fresh\": every task gets a new process, from warm spares."`
	TaskExecutionTime time.Duration     `config:"task_execution_time" default:"the host's" doc:"The most time that a task of this plugin may run before it is killed; 0 is no limit."`
	KillGrace         time.Duration     `config:"kill_grace" default:"the host's" doc:"How long before its time limit a task's context is cancelled; 0 is no warning."`
	MaxAttempts       int               `config:"max_attempts" min:"1" max:"1000" default:"the host's" doc:"How often a task of this plugin that fails is attempted; a task's own wins over it."`
	RetryBackoff      time.Duration     `config:"retry_backoff" default:"the host's" doc:"The most time between a task's first attempt and its second; see the host block."`
	RetryBackoffMax   time.Duration     `config:"retry_backoff_max" default:"the host's" doc:"The most that retry_backoff grows to."`
	MaxTasks          int               `config:"max_tasks" min:"0" doc:"How many tasks a pooled process runs before it is replaced; 0 is no bound."`
	MaxAge            time.Duration     `config:"max_age" doc:"The age at which a pooled process is replaced, after its task; 0 is none."`
	MemoryMax         settings.Bytes    `config:"memory_max" doc:"A pooled process that takes more memory than this after a task is replaced; 0 is no bound."`
	Spares            int               `config:"spares" min:"0" max:"10000" doc:"How many idle processes are kept ready."`
	MaxProcesses      int               `config:"max_processes" min:"0" max:"10000" default:"the host's number_of_workers" doc:"The most processes of this plugin at once; 0 is the host's number_of_workers."`
	StartTimeout      time.Duration     `config:"start_timeout" doc:"How long a process may take to start; 0 is no limit."`
	TLS               string            `config:"tls" oneof:"off|auto" doc:"\"auto\" encrypts the connection to the plugin, at the price of slower starts. It is private to the host's user either way."`
	Environment       map[string]string `config:"environment,secret" doc:"Environment variables for the plugin, beside those of environment_allow. Values are not shown."`
	EnvironmentAllow  []string          `config:"environment_allow" doc:"The names of the variables of the host's environment that the plugin gets."`
	DevOverride       bool              `config:"dev_override" doc:"Serve the plugin whatever the lock file says, with a warning: for its author, who builds it again and again."`
	Arguments         []string          `config:"arguments" doc:"Command line arguments for the plugin."`
	Limits            Limits            `config:"limits,block" doc:"What each process of the plugin is held to. What is not set is taken from the limits block of the host block."`
}

// Validate reports environment variables and arguments that no process can be given.
func (p *Plugin) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
		if !validEnvName(name) {
			errs = append(errs, fmt.Errorf("environment: %q cannot be the name of an environment variable", short(name)))
		}
		if strings.ContainsRune(p.Environment[name], 0) {
			errs = append(errs, fmt.Errorf("environment: the value of %q has a zero byte", short(name)))
		}
	}
	for _, name := range p.EnvironmentAllow {
		if !validEnvName(name) {
			errs = append(errs, fmt.Errorf("environment_allow: %q cannot be the name of an environment variable", short(name)))
		}
	}
	for _, arg := range p.Arguments {
		if strings.ContainsRune(arg, 0) {
			errs = append(errs, errors.New("arguments: one has a zero byte"))
		}
	}
	errs = append(errs, p.Limits.check()...)
	errs = append(errs, checkBackoff(p.RetryBackoff, p.RetryBackoffMax))
	return errors.Join(errs...)
}

func validEnvName(s string) bool { return s != "" && !strings.ContainsAny(s, "=\x00") }

// Validate reports a name that cannot stand in records and logs.
func (h *Host) Validate() error {
	switch {
	case h.Name == "":
		return errors.New("name must not be empty")
	case len(h.Name) > 255:
		return fmt.Errorf("name is %d bytes long, at most 255 are allowed", len(h.Name))
	case strings.ContainsFunc(h.Name, unicode.IsControl):
		return fmt.Errorf("name %q has control characters", h.Name)
	case strings.ContainsRune(h.CgroupParent, 0) || strings.Contains(h.CgroupParent, ".."):
		return fmt.Errorf("cgroup_parent %q must be a plain path", short(h.CgroupParent))
	}
	return errors.Join(append(h.Limits.check(), checkBackoff(h.RetryBackoff, h.RetryBackoffMax))...)
}

func checkBackoff(first, most time.Duration) error {
	if most < first {
		return fmt.Errorf("retry_backoff_max (%v) is less than retry_backoff (%v)", most, first)
	}
	return nil
}

// defaultHost returns the defaults of the host block.
func defaultHost() Host {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	return Host{
		Name:                   name,
		TaskExecutionTime:      600 * time.Second,
		NumberOfWorkers:        4,
		EmptyQueueSleepTime:    500 * time.Millisecond,
		WorkersActiveSleepTime: 200 * time.Millisecond,
		PluginDir:              "plugins",
		PluginLock:             LockFileName,
		StateDir:               "var/leptir",
		LeaseTime:              30 * time.Second,
		ShutdownTimeout:        30 * time.Second,
		KillGrace:              2 * time.Second,
		MaxAttempts:            1,
		RetryBackoff:           2 * time.Second,
		RetryBackoffMax:        time.Hour,
		MaxCrashes:             3,
		Limits:                 defaultLimits(),
	}
}

// pluginDefaults returns the defaults of a plugin block on a host of the given settings.
func pluginDefaults(h Host) Plugin {
	return Plugin{
		Isolation:         IsolationPooled,
		TaskExecutionTime: h.TaskExecutionTime,
		KillGrace:         h.KillGrace,
		MaxAttempts:       h.MaxAttempts,
		RetryBackoff:      h.RetryBackoff,
		RetryBackoffMax:   h.RetryBackoffMax,
		MaxTasks:          10000,
		MaxAge:            time.Hour,
		Spares:            1,
		MaxProcesses:      h.NumberOfWorkers,
		StartTimeout:      10 * time.Second,
		TLS:               TLSOff,
		EnvironmentAllow:  []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"},
		Limits:            h.Limits,
	}
}

// PluginDefaults returns the settings of a plugin that has no block.
func (c *Config) PluginDefaults() Plugin { return pluginDefaults(c.Host) }

// Plugin returns the settings of the plugin of that name, with or without a block.
func (c *Config) Plugin(name string) Plugin {
	if p, ok := c.Plugins[name]; ok {
		return p
	}
	p := c.PluginDefaults()
	p.Name = name
	return p
}

// The settings that all kinds of a block share, decoded beside the kind's own.
type (
	brokerCommon struct {
		Priority             int           `config:"priority" doc:"A lower number is more urgent: the broker is drawn more often. A task pushed with a priority goes to the first broker, by ascending number, whose number is not below it."`
		TaskCountCachingTime time.Duration `config:"task_count_caching_time" doc:"How long the number of waiting tasks is remembered before the broker is asked again; 0 is not at all."`
		DeadRetention        time.Duration `config:"dead_retention" doc:"How long dead letters are kept before the host deletes them; 0 is for ever."`
		OnStartFailure       string        `config:"on_start_failure" oneof:"|wait|exit" default:"wait for servers, exit for files" doc:"What happens if it cannot be opened when the host starts. \"wait\": the host serves the others and tries again. \"exit\": the host ends with an error."`
	}
	metaStorageCommon struct {
		OnFailure      string `config:"on_failure" oneof:"wait|drop" doc:"What happens while a record cannot be written. \"wait\": its task stays leased until it can. \"drop\": the task ends without it."`
		OnStartFailure string `config:"on_start_failure" oneof:"|wait|exit" default:"wait for servers, exit for files" doc:"What happens if it cannot be opened when the host starts. \"wait\": the host serves the others and tries again. \"exit\": the host ends with an error."`
	}
)

// errorReportingCommon is what all kinds of error_reporting share.
type errorReportingCommon struct {
	Queue      int           `config:"queue" min:"1" max:"100000" doc:"How many reports may wait for it; what comes while there is no room is dropped, counted and told in the log."`
	Timeout    time.Duration `config:"timeout" min:"100ms" max:"1h" doc:"How long the delivery of the reports that it is handed at once, up to 100, may take."`
	Redact     []string      `config:"redact" doc:"Words that hide a value of parameters and data whose key has one of them in it, beside those that always do, such as \"password\", \"secret\" and \"token\"."`
	Parameters bool          `config:"parameters" doc:"Whether reports carry the parameters of the task."`
}

func defaultErrorReportingCommon() errorReportingCommon {
	return errorReportingCommon{Queue: report.DefaultQueue, Timeout: report.DefaultTimeout, Parameters: true}
}

func defaultBrokerCommon() brokerCommon {
	return brokerCommon{TaskCountCachingTime: 200 * time.Millisecond}
}

func defaultMetaStorageCommon() metaStorageCommon {
	return metaStorageCommon{OnFailure: OnFailureWait}
}

// topLevel is what stands outside all blocks.
type topLevel struct {
	TaskAlias map[string]string `config:"task_alias" doc:"Task types as old producers write them, and the types that plugins serve for them."`
}
