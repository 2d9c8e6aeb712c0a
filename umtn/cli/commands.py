"""What the command `umtn` offers: a name, the module that does it, one line for a stranger.

Nothing is imported here: a name is looked up, and then its module alone is.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMMANDS", "Command", "listed"]


@dataclass(frozen=True)
class Command:
    """module.main(arguments) runs it. before: arguments that come first. typed: how the module's own help calls it.

    topic: the heading under which it is listed.
    """

    name: str
    module: str
    line: str
    topic: str
    before: tuple[str, ...] = ()

    @property
    def typed(self) -> str:
        module = self.module.removesuffix(".__main__")
        return " ".join(("python -m", module, *self.before))


def _play(name: str, module: str, line: str) -> Command:
    return Command(name, module, line, "play")


def _learn(name: str, line: str) -> Command:
    return Command(name, "umtn.__main__", line, "learn, needs PyTorch", (name,))


COMMANDS = {
    command.name: command
    for command in (
        _play("play", "realtime.run", "play or sing, and hear another instrument"),
        _play("record", "realtime.run", "the same, and keep it: umtn record [FILE.wav] [options of play]"),
        _play(
            "doctor", "realtime.doctor.__main__", "what would stop a show on this machine, and what mends it"
        ),
        _play(
            "latency", "realtime.latency.__main__", "measure the true latency of the interface, with a cable"
        ),
        _play(
            "patches", "realtime.patches.__main__", "write patches for Max, Live, Pure Data, SuperCollider"
        ),
        _play("native", "umtn.native.__main__", "compile the fast engines that are missing, a minute, once"),
        _play("bench", "benchmarks.__main__", "measure what a model costs on this machine"),
        _learn("render", "make training data from scores and sound fonts"),
        _learn("prepare", "make training data from recordings"),
        _learn("guide", "make training data for guided WaveNet decoders"),
        _learn("train", "train a translator"),
        _learn("take-ear", "give a finished model the encoder of a newer one"),
        _learn("add-domain", "teach a model your own sound, from plain recordings"),
        _learn("translate", "translate a sound file offline"),
        _learn("evaluate", "measure how a model sounds"),
        _learn("compare", "say what is better and what worse in a second report"),
        _learn("train-judge", "train the judges that evaluate asks"),
        _learn("rivals", "let models compete for equal time"),
        _learn("ablate", "train without one part after the other"),
        Command(
            "export", "export.__main__", "turn a checkpoint into a bundle to play", "freeze, needs PyTorch"
        ),
        Command(
            "verify",
            "export.__main__",
            "prove that a bundle equals its checkpoint",
            "freeze, needs PyTorch",
            ("verify",),
        ),
    )
}


def listed() -> str:
    """All of them, a line each, under their topics."""
    lines = []
    for topic in dict.fromkeys(command.topic for command in COMMANDS.values()):
        lines.append(f"\n{topic}:")
        lines += [f"  {c.name:<12} {c.line}" for c in COMMANDS.values() if c.topic == topic]
    return "\n".join(lines)
