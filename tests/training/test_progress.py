import io

from rich.console import Console

from trustee_jax.progress import Progress, counted


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)


def test_a_log_gets_few_plain_lines() -> None:
    console, clock = _console(terminal=False), _Clock()
    with Progress(9, console=console, clock=clock) as progress:
        with progress.phase(2, "episodes", 8) as advance:
            for second in range(1, 71):
                clock.now = second
                advance(second // 10, tokens=100 * second)
        progress.finish_step(2, reward=-0.25, difficulty=4.0, seconds=70.0, note="7/8 valid")
        progress.finish_step(3, reward=None, difficulty=4.0, seconds=1.0)
    assert console.file.getvalue().splitlines() == [
        "step 2/9  episodes 3/8  3,000 tokens, 100/s  30.0 s",
        "step 2/9  episodes 6/8  6,000 tokens, 100/s  60.0 s",
        "step 2/9  episodes 7/8  7,000 tokens, 100/s  70.0 s",
        "step 2/9  reward -0.250  difficulty 4  70.0 s  7/8 valid",
        "step 3/9  reward none valid  difficulty 4  1.0 s",
    ]


def test_the_end_of_a_phase_is_shown_once() -> None:
    console, clock = _console(terminal=False), _Clock()
    with Progress(9, console=console, clock=clock).phase(1, "learning", 1) as advance:
        clock.now = 40.0
        advance(1, tokens=400)
    assert console.file.getvalue() == "step 1/9  learning 1/1  400 tokens, 10/s  40.0 s\n"


def test_a_terminal_gets_a_live_line_and_one_that_stays() -> None:
    console = _console(terminal=True)
    with Progress(9, console=console) as progress:
        with progress.phase(2, "episodes", 8) as advance:
            advance(5, tokens=1000)
            progress._live.refresh()
        progress.finish_step(2, reward=0.5, difficulty=7.0, seconds=3.0)
    shown = console.file.getvalue()
    assert "5/8" in shown
    assert "1,000 tokens" in shown
    assert "step 2/9  reward +0.500  difficulty 7  3.0 s" in shown
    # The live line is erased, the step's line is not.
    assert shown.rindex("\x1b[2K") > shown.rindex("5/8")


def test_square_brackets_are_shown_as_they_are() -> None:
    console = _console(terminal=False)
    Progress(1, console=console).message("stopped at [bold]2[/bold]")
    assert console.file.getvalue() == "stopped at [bold]2[/bold]\n"


def test_other_processes_show_nothing() -> None:
    for terminal in (False, True):
        console = _console(terminal)
        with Progress(9, console=console, enabled=False) as progress:
            with progress.phase(1, "tasks", 2) as advance:
                advance(2)
            progress.finish_step(1, reward=1.0, difficulty=1.0, seconds=1.0)
        assert console.file.getvalue() == ""


def test_counting_in_a_log_gives_a_line_now_and_then_and_one_at_the_end() -> None:
    console, clock = _console(terminal=False), _Clock()
    with counted("verdicts", 7, console, clock=clock) as advance:
        for clock.now in range(10, 80, 10):
            advance(0, note="under way")
            advance()
    assert console.file.getvalue().splitlines() == [
        "verdicts 3/7  30 s, about 40 s left",
        "verdicts 6/7  60 s, about 10 s left",
        "verdicts 7/7  70 s, about 0 s left",
    ]


def test_counting_on_a_terminal_leaves_nothing_behind() -> None:
    console = _console(terminal=True)
    with counted("documents", 8, console) as advance:
        advance(5, note="pets.json")
    shown = console.file.getvalue()
    assert "5/8" in shown
    assert "pets.json" in shown
    assert shown.rindex("\x1b[2K") > shown.rindex("5/8")


def test_counting_can_be_silent() -> None:
    for terminal in (False, True):
        console = _console(terminal)
        with counted("documents", 1, console, enabled=False) as advance:
            advance()
        assert console.file.getvalue() == ""
