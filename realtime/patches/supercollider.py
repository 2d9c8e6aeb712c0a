"""The SuperCollider class: every parameter by name, figures as they come, usage at the top of the file."""

from __future__ import annotations

from realtime.patches.table import Session, info_text
from realtime.shared.parameters import Parameter, Status

__all__ = ["supercollider"]

_HEAD = """// umtn-live from SuperCollider. Bundle: {bundle}. Written by python -m realtime.patches.
//
// Put this file into Platform.userExtensionDir and recompile the class library. No server is needed.
//
//   u = UmtnLive.new;                      // or UmtnLive("192.168.1.20", 9100)
//   u.subscribe;                           // values and figures come, now and whenever they change
//   u.set('mix', 0.7);                     // or u['mix'] = 0.7;
//   u.set('to', '{domain}');
//   u.setNormalized('output/gain_db', 0.5);
//   u.fire('panic');
//   u.get('mix');                          // what the program said last; nil before it answered
//   u.ask('mix', {{ |value| value.postln }});
//   u.meter('level_out_db');               // last figure
//   u.onMeter('level_out_db', {{ |value| value.postln }});
//   u.onChange('mix', {{ |value| value.postln }});
//   u.onError = {{ |text| text.postln }};    // what the program refused, and why
//   u.alive;                               // true while the program answers
//   UmtnLive.help;                         // all parameters and figures
//   u.send('latent/scale/3', 1.5);         // any address below /umtn/
//   u.free;
//
// Pbind(\\type, \\rest, \\dur, 2, \\do, Pfunc {{ u.set('to', UmtnLive.domains.choose) }}).play;

UmtnLive {{
	classvar <parameters, <figures, <domains;
	var <address, <values, <meters, <>onError;
	var receiver, subscription, changeFuncs, meterFuncs, waiting, lastHeard;

	*initClass {{
		domains = [{domains}];
		parameters = IdentityDictionary[
{parameters}
		];
		figures = IdentityDictionary[
{figures}
		];
	}}
"""

_BODY = """
	*new { |host = "@HOST@", port = @PORT@|
		^super.new.init(host, port)
	}

	*help {
		parameters.keys.asArray.sort.do { |name| "%  %".format(name, parameters[name][\\info]).postln };
		figures.keys.asArray.sort.do { |name| "status/%  %".format(name, figures[name]).postln };
	}

	init { |host, port|
		address = NetAddr(host, port);
		values = IdentityDictionary.new;
		meters = IdentityDictionary.new;
		changeFuncs = IdentityDictionary.new;
		meterFuncs = IdentityDictionary.new;
		waiting = IdentityDictionary.new;
		onError = { |text| ("umtn: " ++ text).warn };
		receiver = { |message, time, from| this.prReceive(message, from) };
		thisProcess.addOSCRecvFunc(receiver);
	}

	// numbers, true and false; names (symbol or string) for a choice; names for actions
	set { |name, value|
		this.prFind(name);
		if(value.isNil) { ^this.fire(name) };
		this.send(name, value)
	}

	setNormalized { |name, position|
		if(this.prFind(name)[\\kind] != 'float') { Error("umtn: % has no dial from 0 to 1".format(name)).throw };
		this.send("%/normalized".format(name), position.asFloat)
	}

	fire { |name|
		if(#['event', 'action'].includes(this.prFind(name)[\\kind]).not) {
			Error("umtn: % needs a value".format(name)).throw
		};
		this.send(name)
	}

	get { |name|
		this.prFind(name);
		^values[name.asSymbol]
	}

	at { |name| ^this.get(name) }

	put { |name, value| this.set(name, value) }

	ask { |name, function|
		this.prFind(name);
		waiting[name.asSymbol] = waiting[name.asSymbol].add(function);
		this.send(name)
	}

	meter { |name| ^meters[name.asSymbol] }

	onChange { |name, function|
		this.prFind(name);
		changeFuncs[name.asSymbol] = function
	}

	onMeter { |name, function| meterFuncs[name.asSymbol] = function }

	alive { ^lastHeard.notNil and: { Main.elapsedTime - lastHeard < 3 } }

	// once more every few seconds, so that the program may be started, or started again, at any time
	subscribe { |every = 3|
		subscription.stop;
		this.send("subscribe");
		subscription = SkipJack({ this.send("subscribe") }, every, name: "UmtnLive")
	}

	unsubscribe {
		subscription.stop;
		subscription = nil;
		this.send("unsubscribe")
	}

	free {
		if(subscription.notNil) { this.unsubscribe };
		thisProcess.removeOSCRecvFunc(receiver)
	}

	// i, f and s are the only types that go out
	send { |path ... arguments|
		var plain = arguments.collect { |x|
			case { x.isKindOf(Boolean) } { x.binaryValue } { x.isKindOf(String) } { x.asSymbol } { x }
		};
		address.sendMsg(("/umtn/" ++ path).asSymbol, *plain)
	}

	prFind { |name|
		^parameters[name.asSymbol] ?? {
			Error("umtn: no parameter called '%'; UmtnLive.help lists them".format(name)).throw
		}
	}

	prReceive { |message, from|
		var path = message[0].asString, name, value = message[1];
		if((from.addr != address.addr) or: { from.port != address.port }) { ^this };
		lastHeard = Main.elapsedTime;
		if(path == "/error") { ^onError.value(value.asString) };
		if(path.beginsWith("/umtn/").not) { ^this };
		name = path.drop(6);
		if(name.beginsWith("status/")) {
			name = name.drop(7).asSymbol;
			meters[name] = value;
			^meterFuncs[name].value(value)
		};
		name = name.asSymbol;
		if(parameters[name].isNil or: { value.isNil }) { ^this };
		waiting.removeAt(name).do { |function| function.value(value) };
		if(values[name] != value) {
			values[name] = value;
			changeFuncs[name].value(value)
		}
	}
}
"""


def supercollider(session: Session) -> str:
    """Text of UmtnLive.sc."""
    head = _HEAD.format(
        bundle=session.bundle,
        domain=session.domains[-1] if session.domains else "",
        domains=", ".join(map(_symbol, session.domains)),
        parameters=",\n".join(map(_parameter, session.parameters)),
        figures=",\n".join(map(_figure, session.status)),
    )
    return head + _BODY.replace("@HOST@", session.host).replace("@PORT@", str(session.port))


def _parameter(p: Parameter) -> str:
    fields = {
        "kind": _symbol(p.kind),
        "low": f"{p.low!r}",
        "high": f"{p.high!r}",
        "default": f"{p.default!r}",
    }
    fields["info"] = _string(info_text(p))
    event = "(" + ", ".join(f"{key}: {value}" for key, value in fields.items()) + ")"
    return f"\t\t\t{_symbol(p.name)} -> {event}"


def _figure(s: Status) -> str:
    unit = f" ({s.unit})" if s.unit else ""
    return f"\t\t\t{_symbol(s.name)} -> {_string(s.description + unit)}"


def _symbol(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
