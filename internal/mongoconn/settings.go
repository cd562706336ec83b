// Package mongoconn owns how leptir gets to a MongoDB server: the settings of a connection,
// the address made of them, and what every call has in common (time limit, closing, the
// words of an error). It knows nothing of what is kept there.
package mongoconn

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/backplane/leptir/internal/settings"
)

// Settings say where the server is and who asks, in the form that package settings
// describes.
type Settings struct {
	URI      settings.Secret   `config:"uri" doc:"Connection string, mongodb://… or mongodb+srv://…, in place of host and port."`
	Host     string            `config:"host" doc:"Host name or address of the server, or the path of its unix socket."`
	Port     int               `config:"port" min:"1" max:"65535" doc:"Port of the server."`
	Database string            `config:"database" doc:"Database."`
	Username string            `config:"username" doc:"User name, where the server asks for one. The user's database is the option authSource."`
	Password settings.Secret   `config:"password" doc:"Password of that user."`
	Options  map[string]string `config:"options" doc:"Options of MongoDB's connection string, handed to the driver: readPreference, replicaSet, tls, authSource, maxPoolSize and so on."`
	Timeout  time.Duration     `config:"timeout" min:"0.1" doc:"Time limit of every call to the server."`
}

// Defaults returns the settings for a server on this machine.
func Defaults() Settings {
	return Settings{Host: "localhost", Port: 27017, Database: "leptir", Timeout: 10 * time.Second}
}

// Validate reports the first reason why the settings cannot be used. It does not look
// anything up in the network.
func (s *Settings) Validate() error {
	switch {
	case s.Database == "":
		return errors.New("database is empty")
	case strings.ContainsAny(s.Database, "/\\. \"$\x00") || len(s.Database) > 63:
		return fmt.Errorf("database %q is no name of a MongoDB database: at most 63 bytes, without any of / \\ . \" $ and spaces", s.Database)
	case s.URI != "" && s.Host != Defaults().Host && s.Host != "":
		return errors.New("uri and host are both set; the uri names the hosts itself")
	case s.URI == "" && (s.Port < 1 || s.Port > 65535):
		return fmt.Errorf("port %d is not between 1 and 65535", s.Port)
	case s.Username == "" && s.Password != "":
		return errors.New("password is set without a username")
	case s.Timeout <= 0:
		return fmt.Errorf("timeout is %v; a call needs a time limit above 0", s.Timeout)
	}
	uri, err := s.uri()
	if err != nil {
		return err
	}
	if strings.HasPrefix(uri, "mongodb+srv://") {
		return nil // to read it, the driver asks the name server
	}
	return check(uri)
}

// uri returns the connection string of the settings. It may hold the password.
func (s *Settings) uri() (string, error) {
	uri := s.URI.Reveal()
	if uri == "" {
		host := s.Host
		if host == "" {
			host = Defaults().Host
		}
		if strings.HasPrefix(host, "/") {
			host = url.QueryEscape(host)
		} else {
			host = net.JoinHostPort(host, strconv.Itoa(s.Port))
		}
		uri = "mongodb://" + host + "/"
	}
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || scheme != "mongodb" && scheme != "mongodb+srv" {
		return "", errors.New("uri does not begin with mongodb:// or mongodb+srv://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	if !strings.Contains(rest, "/") {
		rest += "/"
	}
	if s.Username != "" {
		if strings.Contains(rest, "@") {
			return "", errors.New("username is set, and the uri has one of its own")
		}
		user := url.QueryEscape(s.Username)
		if s.Password != "" {
			user += ":" + url.QueryEscape(s.Password.Reveal())
		}
		rest = user + "@" + rest
	}
	var options []string
	if query != "" {
		options = append(options, query)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Options)) {
		options = append(options, url.QueryEscape(k)+"="+url.QueryEscape(s.Options[k]))
	}
	uri = scheme + "://" + rest
	if len(options) > 0 {
		uri += "?" + strings.Join(options, "&")
	}
	return uri, nil
}

// check reports why the driver cannot use a connection string, or would ignore a part of it.
func check(uri string) error {
	cs, err := connstring.ParseAndValidate(uri)
	if err != nil {
		return fmt.Errorf("connection string: %w", reason(uri, err))
	}
	if len(cs.UnknownOptions) > 0 {
		return fmt.Errorf("options that MongoDB's driver does not know: %s",
			strings.Join(slices.Sorted(maps.Keys(cs.UnknownOptions)), ", "))
	}
	if cs.WNumberSet && cs.WNumber == 0 {
		return errors.New("option w=0: the server would not say whether a write was done")
	}
	return nil
}

// reason returns the driver's reason for refusing a connection string if it is sure that the
// reason does not quote the password.
func reason(uri string, err error) error {
	scheme, rest, _ := strings.Cut(uri, "://")
	i := strings.LastIndex(rest, "@")
	if i < 0 {
		return err
	}
	if _, err := connstring.ParseAndValidate(scheme + "://" + rest[i+1:]); err != nil {
		return err
	}
	return errors.New("the user name or password in it cannot be read, or does not go with authMechanism; " +
		"the characters : / ? # [ ] @ % in them must be written as %3A and so on")
}

// Address returns where the server is, for messages: hosts and database, no user and no
// options.
func (s *Settings) Address() string {
	uri, err := s.uri()
	if err != nil {
		return s.Database
	}
	_, rest, _ := strings.Cut(uri, "://")
	rest = rest[strings.LastIndex(rest, "@")+1:]
	hosts, _, _ := strings.Cut(rest, "/")
	return hosts + "/" + s.Database
}
