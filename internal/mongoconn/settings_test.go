package mongoconn

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/backplane/leptir/internal/settings"
)

func TestURI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change       func(*Settings)
		uri, address string
	}{
		"defaults":    {func(*Settings) {}, "mongodb://localhost:27017/", "localhost:27017/leptir"},
		"no host":     {func(s *Settings) { s.Host = "" }, "mongodb://localhost:27017/", "localhost:27017/leptir"},
		"an IPv6 one": {func(s *Settings) { s.Host, s.Port = "::1", 1 }, "mongodb://[::1]:1/", "[::1]:1/leptir"},
		"a socket":    {func(s *Settings) { s.Host = "/tmp/mongodb-27017.sock" }, "mongodb://%2Ftmp%2Fmongodb-27017.sock/", "%2Ftmp%2Fmongodb-27017.sock/leptir"},
		"a user, and options in order": {
			func(s *Settings) {
				s.Username, s.Password = "ana@home", "p:/?#[]@%"
				s.Options = map[string]string{"readPreference": "secondaryPreferred", "authSource": "admin", "appName": "a b&c"}
			},
			"mongodb://ana%40home:p%3A%2F%3F%23%5B%5D%40%25@localhost:27017/?appName=a+b%26c&authSource=admin&readPreference=secondaryPreferred",
			"localhost:27017/leptir",
		},
		"a uri": {
			func(s *Settings) {
				s.URI = "mongodb://a:1,b:2/other?replicaSet=rs0"
				s.Options = map[string]string{"w": "1"}
				s.Username = "ana"
				s.Database = "mine"
			},
			"mongodb://ana@a:1,b:2/other?replicaSet=rs0&w=1", "a:1,b:2/mine",
		},
		"a uri without a path": {
			func(s *Settings) {
				s.URI, s.Options = "mongodb://u:p@a", map[string]string{"tls": "true"}
			},
			"mongodb://u:p@a/?tls=true", "a/leptir",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := Defaults()
			c.change(&s)
			require.NoError(t, s.Validate())
			uri, err := s.uri()
			require.NoError(t, err)
			require.Equal(t, c.uri, uri)
			require.Equal(t, c.address, s.Address())
		})
	}
	s := Defaults()
	s.URI = "mongodb+srv://cluster.example.invalid/?retryWrites=true"
	require.NoError(t, s.Validate(), "it is not looked up")
}

func TestValidate(t *testing.T) {
	t.Parallel()
	const secret = "very$ecret"
	for want, change := range map[string]func(*Settings){
		"database is empty":                  func(s *Settings) { s.Database = "" },
		`database "a.b" is no name`:          func(s *Settings) { s.Database = "a.b" },
		"uri and host are both set":          func(s *Settings) { s.URI, s.Host = "mongodb://a/", "b" },
		"port 0 is not between":              func(s *Settings) { s.Port = 0 },
		"password is set without a username": func(s *Settings) { s.Password = secret },
		"timeout is 0s":                      func(s *Settings) { s.Timeout = 0 },
		"does not begin with mongodb://":     func(s *Settings) { s.URI = "http://a/" },
		"has one of its own":                 func(s *Settings) { s.URI, s.Username = "mongodb://u:"+secret+"@a/", "ana" },
		"does not know: readpreferense, tsl": func(s *Settings) {
			s.Options = map[string]string{"readPreferense": "primary", "tsl": "true", "tls": "true"}
		},
		"option w=0": func(s *Settings) { s.Options = map[string]string{"w": "0"} },
		`invalid value for "maxPoolSize": "many"`: func(s *Settings) { s.URI = "mongodb://u:p@a/?maxPoolSize=many" },
		"must be written as %3A":                  func(s *Settings) { s.URI = "mongodb://u:%zz" + secret + "@a/" },
		"the characters : / ?":                    func(s *Settings) { s.URI = "mongodb://u:p/" + secret + "@a/" },
		"user name or password in it cannot":      func(s *Settings) { s.URI = "mongodb://u:p?" + secret + "@a/" },
		"invalid auth mechanism":                  func(s *Settings) { s.Options = map[string]string{"authMechanism": "guess"} },
	} {
		s := Defaults()
		change(&s)
		err := s.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), secret)
	}
}

// FuzzSettings makes connection strings of any texts: none may stop the program, or show the
// password in an error, or mean another user, password or option than was set.
func FuzzSettings(f *testing.F) {
	f.Add("mongodb://a:1,b:2/db?replicaSet=rs0", "", "", "w", "1")
	f.Add("", "ana", "p@ss/w:rd?%", "readPreference", "nearest")
	f.Add("mongodb://u:secret1@h", "", "", "", "")
	f.Add("mongodb://", "x", "\x00", "a=b&c", "é")
	f.Fuzz(func(t *testing.T, uri, user, password, option, value string) {
		if strings.HasPrefix(uri, "mongodb+srv") {
			return
		}
		s := Defaults()
		s.URI, s.Username, s.Password = settings.Secret(uri), user, settings.Secret(password)
		s.Options = map[string]string{option: value}
		err := s.Validate()
		if err != nil {
			if len(password) > 8 && uri == "" && !strings.Contains(user+option+value, password) {
				require.NotContains(t, err.Error(), password)
			}
			return
		}
		built, err := s.uri()
		require.NoError(t, err)
		cs, err := connstring.ParseAndValidate(built)
		require.NoError(t, err)
		if user != "" {
			require.Equal(t, user, cs.Username)
			require.Equal(t, password, cs.Password)
		}
		_ = s.Address()
	})
}
