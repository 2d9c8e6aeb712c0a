"""The address space itself: families, blends, actions, other bundles, snapshots."""

from __future__ import annotations

import struct

import pytest

from realtime.control.namespace import Namespace
from realtime.control.osc.inbox import Inbox, OscStats
from realtime.control.osc.packet import decode, encode, encode_head
from realtime.control.values import Conflict, Who
from realtime.shared.memory import SharedState
from realtime.shared.parameters import STATUS, by_name

Answer = list[tuple[str, tuple[object, ...]]]


def error_of(replies: Answer) -> str:
    ((address, (sentence,)),) = replies
    assert address == "/error"
    return str(sentence)


def blends(shared: SharedState) -> list[float]:
    return [shared.get(f"blend/{i}") for i in range(3)]


def test_a_list_sets_the_first_channels(namespace: Namespace, shared: SharedState) -> None:
    assert namespace.answer("/umtn/latent/scale", (0.5, 2, 3.0)) == []
    assert [shared.get(f"latent/scale/{i}") for i in range(5)] == [0.5, 2.0, 3.0, 1.0, 1.0]
    ((address, values),) = namespace.answer("/umtn/latent/scale", ())
    assert (address, values) == ("/umtn/latent/scale", (0.5, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert namespace.answer("/umtn/latent/bias", ()) == [("/umtn/latent/bias", (0.0,) * 8)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0.5,) * 9, "up to 8"),
        ((0.5, "x"), "latent/scale/1"),
        ((0.5, float("nan")), "finite"),
        ((0.5, -float("inf")), "finite"),
        ((0.5, 10**400), "finite"),
        ((None,), "number"),
        ((0.5, "0.7"), "number"),
    ],
)
def test_a_bad_list_moves_nothing(
    namespace: Namespace, shared: SharedState, arguments: tuple[object, ...], named: str
) -> None:
    before = shared.parameters.copy()
    assert named in error_of(namespace.answer("/umtn/latent/scale", arguments))
    assert (shared.parameters == before).all()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400)])
def test_a_number_that_is_none_moves_nothing(
    namespace: Namespace, shared: SharedState, number: float
) -> None:
    """By OSC, which has NaN, and by the page's JSON, which has whole numbers of any length too."""
    before = shared.parameters.copy()
    channels = [f"/umtn/latent/{name}/0{twin}" for name in ("scale", "bias") for twin in ("", "/normalized")]
    twins = [f"{address}/normalized" for address in namespace.setters if "latent" not in address]
    for address in ["/umtn/panic", *namespace.setters, *twins, *channels]:
        assert "finite" in error_of(namespace.answer(address, (number,)))
    for setter in namespace.setters.values():
        assert "finite" in error_of(setter(number))
    assert (shared.parameters == before).all()


def test_a_list_out_of_range_is_clipped_and_reported(namespace: Namespace, shared: SharedState) -> None:
    assert "2 of 3 clipped" in error_of(namespace.answer("/umtn/latent/scale", (9.0, 1.5, -1.0)))
    assert [shared.get(f"latent/scale/{i}") for i in range(3)] == [4.0, 1.5, 0.0]


def test_one_channel_its_twin_and_patterns(namespace: Namespace, shared: SharedState) -> None:
    namespace.answer("/umtn/latent/bias/3", (2.0,))
    assert namespace.answer("/umtn/latent/bias/3", ()) == [("/umtn/latent/bias/3", (2.0,))]
    namespace.answer("/umtn/latent/bias/4/normalized", (0.75,))
    assert shared.get("latent/bias/4") == 4.0
    namespace.answer("/umtn/latent/scale/[0-2]", (0.25,))
    assert [shared.get(f"latent/scale/{i}") for i in range(4)] == [0.25, 0.25, 0.25, 1.0]


@pytest.mark.parametrize("number", ["8", "1024", "-1", "00", "3.0", "٣", "", "x"])
def test_channels_that_do_not_exist(namespace: Namespace, shared: SharedState, number: str) -> None:
    before = shared.parameters.copy()
    assert "unknown address" in error_of(namespace.answer(f"/umtn/latent/scale/{number}", (0.5,)))
    assert (shared.parameters == before).all()


def test_a_blend_of_more_decoders_than_the_machine_can_run(namespace: Namespace, shared: SharedState) -> None:
    shared.status_set("blend_max", 2)
    namespace.answer("/umtn/blend/strings", (0.5,))
    namespace.answer("/umtn/blend/piano", (0.5,))
    for address, value in (("/umtn/blend/winds", 0.1), ("/umtn/blend/winds/normalized", 0.1)):
        sentence = error_of(namespace.answer(address, (value,)))
        assert "2 decoders" in sentence
        assert "strings, piano" in sentence
    assert blends(shared) == [0.5, 0.5, 0.0]
    assert namespace.answer("/umtn/blend/strings", (0.9,)) == []  # one that sounds may move
    assert namespace.answer("/umtn/blend/winds", (0.0,)) == []
    namespace.answer("/umtn/blend/piano", (0.0,))
    assert namespace.answer("/umtn/blend/winds", (0.1,)) == []
    assert blends(shared) == pytest.approx([0.9, 0.0, 0.1])


def test_without_a_figure_any_blend_goes(namespace: Namespace, shared: SharedState) -> None:
    namespace.answer("/umtn/blend/*", (1.0,))
    assert blends(shared) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("address", ["/umtn/to", "/umtn/to/normalized"])
def test_choosing_a_domain_ends_the_blend(namespace: Namespace, shared: SharedState, address: str) -> None:
    namespace.answer("/umtn/blend/*", (1.0,))
    namespace.answer(address, (1,))
    assert blends(shared) == [0.0, 0.0, 0.0]


def test_current_is_what_a_question_would_bring(namespace: Namespace, shared: SharedState) -> None:
    namespace.texts["preset"] = "aria"
    namespace.answer("/umtn/to", ("winds",))
    namespace.answer("/umtn/mute", (1,))
    shared.status_set("load", float("inf"))
    current = namespace.current()
    assert current["/umtn/to"] == "winds"
    assert current["/umtn/mute"] == 1
    assert current["/umtn/status/preset"] == "aria"
    assert {s.address for s in STATUS} <= set(current)
    assert "/umtn/panic" not in current
    assert "/umtn/record" not in current
    for address, value in current.items():
        assert namespace.answer(address, ()) == [(address, (value,))]


def test_another_bundle(namespace: Namespace, shared: SharedState) -> None:
    """Routes are made anew; actions and added addresses stay; a choice that is gone becomes the first."""
    namespace.actions["preset/load"] = lambda text: f"loaded {text}"
    namespace.add("/umtn/midi/learn", lambda arguments: [("/umtn/midi/learn", ())])
    namespace.answer("/umtn/to", ("winds",))
    before = namespace.revision
    namespace.redomain(("choir",), 2)
    assert namespace.revision > before
    assert namespace.current()["/umtn/to"] == "choir"
    assert "/umtn/blend/choir" in namespace.current()
    assert namespace.answer("/umtn/preset/load", ("a",)) == [("/umtn/preset/load", ("loaded a",))]
    assert namespace.answer("/umtn/midi/learn", ()) == [("/umtn/midi/learn", ())]
    assert namespace.answer("/umtn/ping", ()) == [("/umtn/pong", ())]
    for gone in ("/umtn/blend/strings", "/umtn/latent/scale/2"):
        assert "unknown address" in error_of(namespace.answer(gone, (0.5,)))
        assert gone not in namespace.setters
    namespace.redomain(("choir",), 0)
    assert "unknown" in error_of(namespace.answer("/umtn/latent/scale", (1.0,)))


@pytest.mark.parametrize("argument", [(), (None,), (True,), (1,)])
def test_bangs_of_all_kinds_fire_events(
    namespace: Namespace, shared: SharedState, argument: tuple[object, ...]
) -> None:
    done: list[object] = []
    namespace.actions["preset/next"] = lambda value: (done.append(value), "")[1]
    namespace.answer("/umtn/panic", argument)
    namespace.answer("/umtn/preset/next", argument)
    assert shared.panic_count == 1
    assert done == [None]
    namespace.answer("/umtn/preset/next", (0,))
    assert done == [None]


def test_an_action_that_fails_says_why(namespace: Namespace) -> None:
    def refuse(argument: object) -> str:
        raise ValueError("there is no preset 'x'")

    namespace.actions["preset/load"] = refuse
    assert "no preset" in error_of(namespace.answer("/umtn/preset/load", ("x",)))
    assert "takes a name" in error_of(namespace.answer("/umtn/preset/load", (1.5,)))
    assert "not available" in error_of(namespace.answer("/umtn/record", (1,)))


def test_the_quick_way_and_the_careful_way_agree(namespace: Namespace, shared: SharedState) -> None:
    """For every number that fits into four bytes, be it nonsense: same value stored, same reply."""
    numbers = [0.0, -0.0, 0.5, 1.0, 24.0, -60.0, 1e30, -1e30, float("nan"), float("inf"), 1e-40]
    for address, setter in namespace.setters.items():
        for tag, values in (("f", numbers), ("i", [0, 1, 2, -7, 2**31 - 1, -(2**31)])):
            for value in values:
                data = encode_head(address, tag) + struct.pack(f">{tag}", value)
                ((_, parsed, arguments),) = decode(data)
                shared.parameters[:] = 0.25
                careful = (namespace.answer(parsed, arguments), shared.parameters.copy())
                shared.parameters[:] = 0.25
                quick = setter(struct.unpack(f">{tag}", data[-4:])[0])
                assert (quick, shared.parameters.tolist()) == (careful[0], careful[1].tolist()), (
                    address,
                    value,
                )


def test_a_head_is_what_a_message_begins_with() -> None:
    for name in ("mix", "to", "input/gain_db", "output/gain_db"):
        address = by_name(name).address
        assert encode(address, 0.5).startswith(encode_head(address, "f"))
        assert len(encode(address, 0.5)) == len(encode_head(address, "f")) + 4


def test_two_who_fight_are_told_once_a_second() -> None:
    contest, heard = Conflict(), []

    def tell(who: Who, text: str) -> None:
        heard.append((who, text))

    contest.note("/umtn/mix", 0.1, "the page", tell, 0.0)
    contest.note("/umtn/mix", 0.2, "the page", tell, 0.1)
    contest.note("/umtn/mute", 1, "a pad", tell, 0.1)
    contest.note("/umtn/mix", 0.2, "a pad", tell, 0.2)  # both want the same
    contest.note("/umtn/mix", 0.4, "the page", tell, 2.0)  # long after
    assert heard == []
    contest.note("/umtn/mix", 0.5, "a pad", tell, 2.5)
    contest.note("/umtn/mix", 0.6, "the page", tell, 2.6)
    assert [who for who, _ in heard] == ["the page", "a pad"]
    assert heard[0][1] == "/umtn/mix is set by a pad too; the last one wins, which is 0.5 now"
    contest.note("/umtn/mix", 0.7, "a pad", tell, 3.55)
    assert len(heard) == 4


@pytest.mark.parametrize("address", ["/umtn/mix", "/umtn/mix/normalized", "/umtn/to", "/umtn/latent/scale/1"])
@pytest.mark.parametrize("number", [0.25, 1, 9.5])
def test_all_ways_in_are_one(namespace: Namespace, shared: SharedState, address: str, number: float) -> None:
    """A number that came in known bytes, in a bundle or from a page: one value, one answer, one note of who set it."""
    told: list[tuple[Who, str]] = []
    replies: list[Answer] = []
    inbox = Inbox(
        namespace, OscStats(), lambda r, sender: replies.append(r), lambda who, text: told.append((who, text))
    )
    message = encode(address, number)
    bundled = b"#bundle\0" + struct.pack(">QI", 1, len(message)) + message
    outcomes, defaults = [], shared.parameters.copy()
    for way in (message, bundled, None):
        shared.parameters[:] = defaults
        replies.clear()
        told.clear()
        namespace.contest = Conflict()
        namespace.contest.note(address, -1.0, "another", lambda who, text: told.append((who, text)))
        if way is None:
            answer = namespace.receive(address, (number,), "me", lambda who, text: told.append((who, text)))
            replies += [answer] if answer else []
        else:
            inbox.packet(way, "me")
        outcomes.append((shared.parameters.tolist(), list(replies), list(told)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert bool(outcomes[0][2]) != bool(outcomes[0][1])  # refused or clipped: an answer and no note
