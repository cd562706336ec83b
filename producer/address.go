package producer

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/backplane/leptir/brokers"
	"github.com/backplane/leptir/brokers/mongodb"
	"github.com/backplane/leptir/brokers/redis"
	"github.com/backplane/leptir/brokers/sqlite"
	"github.com/backplane/leptir/brokers/sqs"
	"github.com/backplane/leptir/internal/settings"
)

// sourceOf returns the broker at an address. Its errors do not repeat the address, which
// may hold a password.
func sourceOf(address string) (brokers.Source, error) {
	scheme, rest, ok := strings.Cut(address, ":")
	if !ok {
		return brokers.Source{}, errors.New("queue address: it must begin with sqlite:, redis://, rediss://, mongodb://, mongodb+srv:// or https://")
	}
	var kind string
	var s brokers.Settings
	var err error
	switch scheme {
	case "sqlite":
		kind = sqlite.Kind.Name
		s, err = sqliteAt(rest)
	case "redis", "rediss":
		kind = redis.Kind.Name
		s, err = redisAt(address)
	case "mongodb", "mongodb+srv":
		kind = mongodb.Kind.Name
		s, err = mongodbAt(address)
	case "http", "https":
		kind = sqs.Kind.Name
		queue := sqs.Defaults()
		queue.Connection.Queue = address
		s = queue
	default:
		return brokers.Source{}, fmt.Errorf("queue address: there is no broker of scheme %.20q; the schemes are sqlite, redis, rediss, mongodb, mongodb+srv, https", scheme)
	}
	if err == nil {
		if v, ok := s.(interface{ Validate() error }); ok {
			err = v.Validate()
		}
	}
	if err != nil {
		return brokers.Source{}, fmt.Errorf("queue address of scheme %s: %w", scheme, err)
	}
	return brokers.Source{Name: kind, Kind: kind, Settings: s}, nil
}

func sqliteAt(path string) (brokers.Settings, error) {
	if after, ok := strings.CutPrefix(path, "//"); ok {
		if path = after; !strings.HasPrefix(path, "/") {
			return nil, errors.New("a path follows, as in sqlite:var/leptir.db or sqlite:///var/lib/leptir.db")
		}
	}
	s := sqlite.Defaults()
	s.Path = settings.Path(path)
	return s, nil
}

// parse reads a URL. What is wrong with it is said without it.
func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if wrong := (*url.Error)(nil); errors.As(err, &wrong) {
		// Its inner error can quote the part with the password.
		return nil, errors.New("it is not a URL; in a user name or password the characters : / ? # [ ] @ % are written as %3A and so on")
	}
	return u, err
}

func redisAt(address string) (brokers.Settings, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	s := redis.Defaults()
	c := &s.Connection
	if u.Scheme == "rediss" {
		c.Scheme = "tls"
	}
	if host := u.Hostname(); host != "" {
		c.Host = host
	}
	if port := u.Port(); port != "" {
		if c.Port, err = strconv.Atoi(port); err != nil || c.Port < 1 || c.Port > 65535 {
			return nil, fmt.Errorf("port %s is not between 1 and 65535", port)
		}
	}
	c.Username = u.User.Username()
	password, _ := u.User.Password()
	c.Password = settings.Secret(password)
	if db := strings.Trim(u.Path, "/"); db != "" {
		if c.Database, err = strconv.Atoi(db); err != nil || c.Database < 0 {
			return nil, fmt.Errorf("the path is the number of the database, not %.20q", db)
		}
	}
	query := u.Query()
	if query.Has("key") {
		c.Key = query.Get("key")
		query.Del("key")
	}
	for name := range query {
		return nil, fmt.Errorf("there is no option %.20q; the only one is key", name)
	}
	return s, nil
}

func mongodbAt(address string) (brokers.Settings, error) {
	s := mongodb.Defaults()
	rest, query, _ := strings.Cut(address, "?")
	var options []string
	for option := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(option, "=")
		switch {
		case name == "collection":
			collection, err := url.QueryUnescape(value)
			if err != nil {
				return nil, fmt.Errorf("collection: %w", err)
			}
			s.Connection.Collection = collection
		case option != "":
			options = append(options, option)
		}
	}
	_, path, _ := strings.Cut(rest, "://")
	if _, database, _ := strings.Cut(path[strings.LastIndex(path, "@")+1:], "/"); database != "" {
		name, err := url.PathUnescape(database)
		if err != nil {
			return nil, fmt.Errorf("database: %w", err)
		}
		s.Connection.Database = name
	}
	if len(options) > 0 {
		rest += "?" + strings.Join(options, "&")
	}
	s.Connection.URI = settings.Secret(rest)
	return s, nil
}
