"""docs/evidence-1.md and evidence-2.md: what the pools say about criteria and rules, from the findings alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from src.evidence import figures, ordering
from src.evidence.findings import RULE, Findings
from src.report.numbers import LossTrust
from src.runtime import files
from src.runtime.stats import Interval
from src.runtime.templates import environment
from src.study.pool import Pool, TrialResult
from src.study.tables import table_of


def render(path: Path, findings: Findings, pools: list[Pool]) -> None:
    """Write the page, and its figures in a folder of its name."""
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in {
        "regret.svg": figures.regret_figure(findings),
        "correlation.svg": figures.correlation_figure(findings),
        "labels.svg": figures.labels_figure(findings),
        "quality.svg": figures.quality_figure(findings, pools),
    }.items():
        # No date, so that drawing it again gives the same bytes.
        figure.savefig(folder / name, facecolor="white", metadata={"Date": None})
    pages = environment(Path(__file__).parent, html=False)
    pages.filters |= {"points": _points, "ratio": _ratio, "signed": _signed, "range": _range}
    text = pages.get_template("page.md.j2").render(
        f=findings,
        data=list(dict.fromkeys(pool.data for pool in findings.pools)),
        folder=folder.name,
        order=ordering.ways_in_order(findings),
        facts=_facts(pools),
        loss=loss_facts([pool.loss for pool in findings.pools], pools),
        shared_knobs=ordering.shared_knobs(findings),
        budgets=ordering.label_budgets(findings),
        by_rho=ordering.columns_by_rho,
        noise=ordering.columns_by_noise(findings),
    )
    files.write_atomically(path, text.encode())


# z in the formats: a number that rounds to -0 is shown as 0.
def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:z.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:z.2f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+z.2f}"


def _range(pair: Interval | None) -> str:
    return "–" if pair is None else f"{pair.low:.2f} … {pair.high:.2f}"


class PageFacts(NamedTuple):
    """What the page says about all trials together."""

    trials: int
    configurations: int
    tflops: float  # counted, of training
    hours: float  # of training
    torch: list[str]


def _facts(pools: list[Pool]) -> PageFacts:
    members = [member for pool in pools for member in pool.members]
    return PageFacts(
        trials=len(members),
        configurations=len({(pool.name, member.configuration) for pool in pools for member in pool.members}),
        tflops=sum(member.last.flops for member in members if member.snapshots) / 1e12,
        hours=sum(member.seconds or 0.0 for member in members) / 3600,
        torch=sorted({str(member.numerics["torch"]) for member in members}),
    )


class LossFacts(NamedTuple):
    """In how many trials, and in how many pools, the loss did what it is said to do."""

    rising: int  # trials that ended better while their loss had risen
    trials: int
    between: int  # pools in which a lower loss follows quality with certainty
    collapsed: int  # pools in which a collapsed trial has the lowest loss


def loss_facts(trusts: Sequence[LossTrust], pools: list[Pool]) -> LossFacts:
    """Of pools, and of how far the loss could be trusted in each."""
    between = [trust.between_interval for trust in trusts]
    return LossFacts(
        rising=sum(trust.rising_while_improving for trust in trusts),
        trials=sum(trust.trials for trust in trusts),
        between=sum(spread is not None and spread.low > 0 for spread in between),
        collapsed=sum(_lowest_loss_collapsed(pool) for pool in pools),
    )


def _lowest_loss_collapsed(pool: Pool) -> bool:
    known = [member for member in pool.finished if member.last.loss is not None]
    return len(known) > 0 and min(known, key=_last_loss).status == "collapsed"


def _last_loss(member: TrialResult) -> float:
    return float(member.last.loss or 0.0)


def study_tables(findings: Findings) -> list[Table]:
    """The ways of choosing, mean over pools."""
    table = table_of(
        "mean over pools", "chosen by", ">regret, points", ">/ range", ">/ random's", ">rho", ">P(top 10 %)"
    )
    for way in ordering.ways_in_order(findings):
        mean = findings.means["all"][way]
        ratios = (mean.over_range, mean.over_random, mean.rho, mean.top)
        cells = [_points(mean.regret), *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios)]
        table.add_row(way, *cells, style="bold" if way == RULE else None)
    return [table]
