package live_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashpivot/hashpivot/pkg/live"
	"github.com/hashpivot/hashpivot/pkg/market"
)

func TestParseRequest(t *testing.T) {
	f := func(text string, want live.Request) {
		t.Helper()
		got, err := live.ParseRequest([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, want %+v", text, *got, want)
		}
		// What a client marshals is what the gateway reads.
		again, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := live.ParseRequest(again); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", again, *got, err, want)
		}
	}
	ten := 10.0
	start := time.Date(2026, 11, 24, 14, 30, 0, 0, time.UTC)
	f(` {"op":"ping"} `, live.Request{Op: live.OpPing})
	f(`{"id":"1","op":"authenticate","token":"a.b.c"}`, live.Request{Op: live.OpAuthenticate, ID: "1", Token: "a.b.c"})
	f(`{"op":"subscribe","id":"ü","channel":"bars","symbols":["CORZ","I*"],"interval":"1m","source":"alpaca","max_rate":2.5,"from":"live","epoch":"17"}`,
		live.Request{
			Op: live.OpSubscribe, ID: "ü", Channel: live.Bars, Symbols: []string{"CORZ", "I*"}, Interval: market.Interval1m, Source: "alpaca", MaxRate: 2.5,
			From: "live", Epoch: "17",
		})
	f(`{"op":"unsubscribe","sub":"trades/*"}`, live.Request{Op: live.OpUnsubscribe, Sub: "trades/*"})
	f(`{"op":"resume","resume":"t","positions":{"trades/*":"TRADES:7"}}`,
		live.Request{Op: live.OpResume, Resume: "t", Positions: map[string]string{"trades/*": "TRADES:7"}})
	f(`{"op":"replay","subscriptions":[{"channel":"trades","symbols":["*"]}],"start":"2026-11-24T09:30:00-05:00","speed":10,"clock":"stream"}`,
		live.Request{
			Op: live.OpReplay, Subscriptions: []live.Spec{{Channel: live.Trades, Symbols: []string{"*"}}}, Start: start, Speed: &ten, Clock: "stream",
		})
	f(`{"op":"control","sub":"replay/1","action":"seek","start":"2026-11-24T14:30:00Z"}`,
		live.Request{Op: live.OpControl, Sub: "replay/1", Action: live.ActionSeek, Start: start})
}

func TestParseRequestRefusesBytesThatAreNoRequest(t *testing.T) {
	code := live.CloseMalformed
	f := func(text, sentence string) {
		t.Helper()
		r, err := live.ParseRequest([]byte(text))
		if r == nil || live.Malformed(err) != code || live.AsError(err).Code != live.CodeBadRequest || !strings.Contains(err.Error(), sentence) {
			t.Errorf("%.80q: got %v, %v, want malformed: %s", text, r, err, sentence)
		}
	}
	f("", "unexpected end")
	f(" ", "unexpected end")
	f("null", "no JSON object")
	f("[]", "no JSON object")
	f(`"ping"`, "no JSON object")
	f(`{"op":"ping"`, "unexpected end")
	f(`{"op":"ping"}{}`, "after top-level value")
	f(`{"op":"ping"} x`, "after top-level value")
	f(`{"op":NaN}`, "invalid character")
	f(`{"op":"ping",}`, "invalid character")
	f(`{"op":"ping","x":`+strings.Repeat("[", 8)+strings.Repeat("]", 8)+`}`, "deeper than 8")
	f(strings.Repeat(`{"a":`, 10_000), "deeper than 8")
	f(strings.Repeat("]", 60_000), "invalid character")
	code = live.CloseNotUTF8
	f("{\"op\":\"pi\xffng\"}", "no UTF-8")
	code = live.CloseTooBig
	f(`{"op":"`+strings.Repeat("x", live.MaxRequestBytes)+`"}`, "at most 65536")
}

func TestParseRequestRefuses(t *testing.T) {
	f := func(text, code, sentence string) {
		t.Helper()
		r, err := live.ParseRequest([]byte(text))
		if err == nil || live.Malformed(err) != 0 || live.AsError(err).Code != code || !strings.Contains(err.Error(), sentence) {
			t.Errorf("%s: got %v, want %s: %s", text, err, code, sentence)
		}
		if r.ID != "7" {
			t.Errorf("%s: got id %q: the answer would not name its request", text, r.ID)
		}
	}
	bad := live.CodeBadRequest
	f(`{"id":"7"}`, bad, "op is missing")
	f(`{"op":"","id":"7"}`, live.CodeUnknownOp, `op "" is none of`)
	f(`{"op":"drop","what":1,"id":"7"}`, live.CodeUnknownOp, `op "drop" is none of authenticate`)
	f(`{"op":"ping","OP":"ping","id":"7"}`, bad, `field "OP" is unknown`)
	f(`{"op":"ping","speed":1,"id":"7"}`, bad, "speed does not belong to op ping")
	f(`{"op":"ping","op":"authenticate","id":"7"}`, bad, `"op" is there twice`)
	f(`{"op":"ping","\u006fp":"ping","id":"7"}`, bad, `"op" is there twice`)
	f(`{"op":"ping","id":"7","id":"8"}`, bad, `"id" is there twice`)
	f(`{"op":7,"id":"7"}`, bad, "op must be a text, not a number")
	f(`{"op":"authenticate","token":null,"id":"7"}`, bad, "token must be a text, not null")
	f(`{"op":"authenticate","id":"7"}`, bad, "token is missing")
	f(`{"op":"subscribe","symbols":["*"],"id":"7"}`, bad, "channel is missing")
	f(`{"op":"subscribe","channel":"trades","symbols":"CORZ","id":"7"}`, bad, "symbols must be a list of texts, not a text")
	f(`{"op":"subscribe","channel":"trades","symbols":["CORZ",{}],"id":"7"}`, bad, "symbols[1] must be a text, not an object")
	f(`{"op":"subscribe","channel":"trades","symbols":[`+strings.Repeat(`"A",`, live.MaxSymbols)+`"A"],"id":"7"}`, live.CodeTooMany, "1001 entries")
	f(`{"op":"subscribe","channel":"trades","symbols":["*"],"max_rate":"5","id":"7"}`, bad, "max_rate must be a number, not a text")
	f(`{"op":"subscribe","channel":"trades","symbols":["*"],"max_rate":1e999,"id":"7"}`, bad, "beyond any bound")
	f(`{"op":"subscribe","channel":"trades","symbols":["*"],"max_rate":true,"id":"7"}`, bad, "not true or false")
	f(`{"op":"resume","resume":"t","positions":{"a":1},"id":"7"}`, bad, `positions["a"] must be a text`)
	f(`{"op":"resume","resume":"t","positions":{"a":"TRADES:1","a":"TRADES:2"},"id":"7"}`, bad, `"a" is there twice in positions`)
	f(`{"op":"resume","resume":"t","positions":[],"id":"7"}`, bad, "positions must be an object, not a list")
	f(`{"op":"replay","subscriptions":[],"start":"2026-11-24T14:30:00Z","id":"7"}`, bad, "subscriptions is empty")
	f(`{"op":"replay","subscriptions":[{"max_rate":1}],"start":"2026-11-24T14:30:00Z","id":"7"}`, bad, `subscriptions[0] has a field "max_rate"`)
	f(`{"op":"replay","subscriptions":[7],"start":"2026-11-24T14:30:00Z","id":"7"}`, bad, "subscriptions[0] must be an object, not a number")
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"id":"7"}`, bad, "start is missing")
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"start":"yesterday","id":"7"}`, bad, `start "yesterday" is no time`)
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"start":"9999-11-24T14:30:00Z","id":"7"}`, bad, "1970 to 2261")
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"start":"2026-11-24T14:30:00Z","end":"2026-11-24T14:30:00Z","id":"7"}`, bad, "is not behind start")
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"start":"2026-11-24T14:30:00Z","speed":-1,"id":"7"}`, live.CodeBadRate, "speed -1 is neither")
	f(`{"op":"replay","subscriptions":[{"channel":"trades"}],"start":"2026-11-24T14:30:00Z","clock":"wall","id":"7"}`, bad, `clock "wall" is none of event, stream`)
	f(`{"op":"control","sub":"replay/1","action":"rewind","id":"7"}`, bad, `action "rewind" is none of`)
	f(`{"op":"control","sub":"replay/1","action":"speed","id":"7"}`, bad, "action speed needs it")
	f(`{"op":"control","sub":"replay/1","action":"seek","id":"7"}`, bad, "action seek needs it")
	f(`{"op":"unsubscribe","sub":"`+strings.Repeat("x", 300)+`","id":"7"}`, bad, "sub has 300 bytes")
	if _, err := live.ParseRequest([]byte(`{"op":"ping","id":"` + strings.Repeat("x", 65) + `"}`)); err == nil || !strings.Contains(err.Error(), "id has 65 bytes") {
		t.Errorf("long id: got %v", err)
	}
}

func TestParseFrom(t *testing.T) {
	f := func(text string, want live.From, spelt string) {
		t.Helper()
		got, err := live.ParseFrom(text)
		if err != nil || got != want || got.String() != spelt {
			t.Errorf("%q: got %+v (%s), %v, want %+v (%s)", text, got, got, err, want, spelt)
		}
	}
	f("", live.From{}, "live")
	f("live", live.From{Kind: live.FromLive}, "live")
	f("snapshot", live.From{Kind: live.FromSnapshot}, "snapshot")
	f("2026-11-25T15:30:00.5+01:00", live.From{Kind: live.FromTime, Time: time.Date(2026, 11, 25, 14, 30, 0, 5e8, time.UTC)}, "2026-11-25T14:30:00.5Z")
	f("TRADES:18231:4", live.From{Kind: live.FromCursor, Cursor: live.Cursor{Stream: market.Trades, Seq: 18231, Idx: 4}}, "TRADES:18231:4")
	f("BARS:1", live.From{Kind: live.FromCursor, Cursor: live.Cursor{Stream: market.Bars, Seq: 1, Idx: live.Whole}}, "BARS:1")

	bad := func(text string) {
		t.Helper()
		_, err := live.ParseFrom(text)
		var e *live.Error
		if !errors.As(err, &e) || e.Code != live.CodeBadFrom {
			t.Errorf("%q: got %v, want %s", text, err, live.CodeBadFrom)
		}
	}
	bad("Live")
	bad("2026-11-25")
	bad("2026-11-25T15:30:00")
	bad("0001-01-01T00:00:00Z")
	bad("TRADES")
	bad("TRADES:-1")
	bad("TRADES:1:2:3")
	bad("NOSUCH:1")
	bad(" live")
}

func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{"op":"ping","id":"1"}`, `{"op":"authenticate","token":"a.b.c"}`,
		`{"op":"subscribe","id":"a","channel":"bars","symbols":["CORZ","I*"],"interval":"1m","source":"s","max_rate":2.5,"from":"TRADES:1:2","epoch":"17"}`,
		`{"op":"unsubscribe","sub":"trades/*"}`, `{"op":"resume","resume":"t","positions":{"trades/*":"TRADES:7"}}`,
		`{"op":"replay","subscriptions":[{"channel":"trades","symbols":["*"]}],"start":"2026-11-24T14:30:00Z","end":"2026-11-25T14:30:00Z","speed":0,"clock":"event"}`,
		`{"op":"control","sub":"replay/1","action":"seek","start":"2026-11-24T14:30:00Z"}`, `{"\u006fp":"\ud800"}`, `[[[[[[[[[`, `{"op":1e999}`, "\xff", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := live.ParseRequest(data)
		if r == nil {
			t.Fatal("no request")
		}
		if err != nil {
			var e *live.Error
			if !errors.As(err, &e) || e.Code == "" || e.Message == "" || !utf8.ValidString(e.Message) || len(e.Message) > 1024 {
				t.Fatalf("the error is none for a client: %#v", err)
			}
			return
		}
		_, _ = live.ParseFrom(r.From)
		s := r.Spec()
		_ = s.Normalize()
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		again, err := live.ParseRequest(text)
		if err != nil && len(text) <= live.MaxRequestBytes && len(r.Symbols) > 0 {
			t.Fatalf("%s was read, but not again as %s: %v", data, text, err)
		}
		if err == nil && !reflect.DeepEqual(r, again) {
			t.Fatalf("got %+v, then %+v", r, again)
		}
	})
}
