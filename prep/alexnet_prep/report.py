"""What became of a split's members, as JSON keys, as manifest entries and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alexnet_command.tables import table_lines
from alexnet_command.units import size_text
from alexnet_prep.errors import RunError
from alexnet_prep.official import known_differences
from alexnet_prep.sidecar import Sidecar
from alexnet_prep.sourcesizes import Sizes, add_sizes, check_sizes
from alexnet_prep.split import CountDifference, SplitSource
from alexnet_prep.verify import VerifyReport
from alexnet_shards import FormatError, Stats
from alexnet_shards.manifest import Manifest
from alexnet_shards.shown import public_address

SHOWN_ROWS = 20
GIVEN_UP = "images were given up for workers that were lost at them; start again to try them once more"


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """The outcome of one split: every entry is written, dropped with a reason, or ignored for its kind.

    `given_up` are those of `dropped` that another start tries again; `missing` counts images that should be there; `sizes`
    are of the sources of those written, {} where they were not counted.
    """

    split: str
    members: int
    written: int
    patched: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    converted: dict[str, tuple[str, ...]]
    shards: int
    bytes: int
    count_differences: tuple[CountDifference, ...]
    notes: tuple[str, ...]
    entries: int
    ignored: Mapping[str, int]
    given_up: tuple[str, ...]
    missing: int
    sizes: Sizes

    def manifest_entry(self) -> dict[str, Any]:
        """The report as it stands in the manifest: keys named one by one, no times."""
        return {
            "entries": self.entries,
            "members": self.members,
            "written": self.written,
            "dropped": [{"key": key, "reason": reason} for key, reason in self.dropped],
            "ignored": dict(self.ignored),
            "given_up": list(self.given_up),
            "missing": self.missing,
            "patched": list(self.patched),
            "converted": {kind: list(keys) for kind, keys in self.converted.items()},
            "count_differences": [asdict(each) for each in self.count_differences],
            "notes": list(self.notes),
            **({"sizes": self.sizes} if self.sizes else {}),
        }

    def as_json(self, images_per_second: float) -> dict[str, Any]:
        """The object that `alexnet-prep shards --json` prints for a split."""
        return {
            "split": self.split,
            "entries": self.entries,
            "members": self.members,
            "written": self.written,
            "patched": len(self.patched),
            "dropped": [{"key": key, "reason": reason} for key, reason in self.dropped],
            "ignored": dict(self.ignored),
            "missing": self.missing,
            "converted": {kind: len(keys) for kind, keys in self.converted.items()},
            "shards": self.shards,
            "bytes": self.bytes,
            "classes_off_count": len(self.count_differences),
            "notes": list(self.notes),
            "images_per_second": round(images_per_second, 1),
        }


def split_report(source: SplitSource, sidecars: Sequence[Sidecar], kept: Sizes | None = None) -> SplitReport:
    """Sum up a split from its sidecars (in shard order); lists are sorted by key. `kept` are the sources' sizes where the
    sidecars do not have them."""
    converted: dict[str, list[str]] = {}
    for sidecar in sidecars:
        for kind, keys in sidecar.converted.items():
            converted.setdefault(kind, []).extend(keys)
    counts = {kind: len(keys) for kind, keys in converted.items()}
    given_up = tuple(sorted(key for sidecar in sidecars for key in sidecar.given_up))
    again = [f"{source.split}: {len(given_up)} {GIVEN_UP}"] if given_up else []
    report = SplitReport(
        split=source.split,
        members=len(source),
        written=sum(sidecar.samples for sidecar in sidecars),
        patched=tuple(sorted(key for sidecar in sidecars for key in sidecar.patched)),
        dropped=tuple(sorted(entry for sidecar in sidecars for entry in sidecar.dropped)),
        converted={kind: tuple(sorted(keys)) for kind, keys in sorted(converted.items())},
        shards=len(sidecars),
        bytes=sum(sidecar.bytes for sidecar in sidecars),
        count_differences=tuple(source.count_differences()),
        notes=(*again, *source.notes, *known_differences(source.edition, source.split, len(source), counts)),
        entries=source.account.entries,
        ignored=source.account.ignored,
        given_up=given_up,
        missing=source.missing,
        sizes=add_sizes(sidecar.sizes for sidecar in sidecars if sidecar.samples) or kept or {},
    )
    _close(report)
    return report


def _close(report: SplitReport) -> None:
    """Raise RunError where the account does not balance, or no image is left."""
    ignored = sum(report.ignored.values())
    if report.entries != report.written + len(report.dropped) + ignored:
        raise RunError(
            f"{report.split}: {report.entries} entries are not {report.written} written, {len(report.dropped)} dropped and "
            f"{ignored} ignored; this is a bug of alexnet-prep, please report it"
        )
    if not report.written:
        key, reason = report.dropped[0]
        raise RunError(
            f"{report.split}: none of its {report.members:,} images can be used, the first, {key}, for: {reason}; "
            "expected at least one"
        )


def strict_problems(report: dict[str, Any]) -> str:
    """What `--strict` does not let pass, of a SplitReport.as_json object, as words; "" for nothing."""
    found = {
        "dropped": len(report["dropped"]),
        "missing": report["missing"],
        "classes off count": report["classes_off_count"],
    }
    words = [f"{count:,} {what}" for what, count in found.items() if count]
    return f"{report['split']}: {', '.join(words)}" if words else ""


def refuse_problems(reports: Sequence[dict[str, Any]]) -> None:
    """Raise RunError where any split has what `--strict` does not let pass."""
    problems = [words for words in map(strict_problems, reports) if words]
    if problems:
        raise RunError(f"--strict: {'; '.join(problems)}; alexnet-prep report names them")


def account_line(report: dict[str, Any]) -> str:
    """The sum of a split's entries, of a SplitReport.as_json object."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in report["ignored"].items())
    return (
        f"{report['split']}: {report['entries']:,} entries = {report['written']:,} written + {len(report['dropped']):,} "
        f"dropped + {sum(report['ignored'].values()):,} ignored{f' ({kinds})' if kinds else ''}"
    )


def report_table(reports: Sequence[dict[str, Any]]) -> list[str]:
    """The run's table from `SplitReport.as_json` objects, a row a split, and below it what was converted."""
    header = ("split", "members", "written", "patched", "dropped", "shards", "size", "off count", "images/s")
    rows = [
        (
            report["split"],
            f"{report['members']:,}",
            f"{report['written']:,}",
            f"{report['patched']:,}",
            f"{len(report['dropped']):,}",
            f"{report['shards']:,}",
            size_text(report["bytes"]),
            f"{report['classes_off_count']:,}",
            f"{report['images_per_second']:,.0f}" if report["images_per_second"] else "",
        )
        for report in reports
    ]
    shown = [place for place in range(len(header)) if any(row[place] for row in rows)]
    lines = table_lines("Shards", [header[place] for place in shown], [[row[place] for place in shown] for row in rows])
    for report in reports:
        if report["converted"]:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in report["converted"].items())
            lines.append(f"converted, {report['split']}: {kinds}")
    return lines


def report_lines(report: dict[str, Any]) -> list[str]:
    """What a user must be told beside the table: dropped images with their reasons, and notes."""
    lines = [f"dropped {entry['key']}: {entry['reason']}" for entry in report["dropped"]] + list(report["notes"])
    shown = lines[:SHOWN_ROWS]
    if len(lines) > len(shown):
        shown.append(f"… and {len(lines) - len(shown)} more, all in {report['split']}.manifest.json")
    return shown


def statistics_facts(stats: Stats, out: Path | str, seconds: float | None) -> dict[str, Any]:
    """The object that `alexnet-prep compute-stats --json` prints, without the published values.

    `seconds` None: the statistics were there already.
    """
    return {
        "images": stats.images,
        "rgb_mean": stats.rgb_mean.tolist(),
        "rgb_std": stats.rgb_std.tolist(),
        "covariance": stats.covariance.tolist(),
        "eigenvalues": stats.eigenvalues.tolist(),
        "eigenvectors": stats.eigenvectors.tolist(),
        "out": public_address(str(out)),
        "reused": seconds is None,
        "images_per_second": round(stats.images / seconds, 1) if seconds else 0.0,
    }


def statistics_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Ours and the published statistics side by side (statistics.comparison), for the user to judge."""
    header = ("source", "mean", "deviation along axes", "degrees to our axes")
    figures = ("rgb_mean", "axis_deviations", "angles_degrees")
    cells = [(row["source"], *(" ".join(f"{value:.1f}" for value in row[name]) for name in figures)) for row in rows]
    return table_lines("RGB statistics, 0..255", header, cells)


def deviation_line(stats: Stats) -> str:
    """Mean and standard deviation of each channel over all pixels."""
    pairs = zip("RGB", stats.rgb_mean, stats.rgb_std, strict=True)
    return "a channel: " + ", ".join(f"{name} {mean:.3f} ± {std:.3f}" for name, mean, std in pairs)


def verify_table(report: VerifyReport) -> list[str]:
    """What verification found wrong, a row a shard or sample."""
    rows = [(entry.shard, entry.key or "", entry.reason) for entry in report.bad[:SHOWN_ROWS]]
    lines = table_lines(f"what is wrong: {len(report.bad):,}", ("shard", "key", "what is wrong"), rows)
    more = len(report.bad) - len(rows)
    return [*lines, f"… and {more:,} more, all in --json"] if more else lines


def _check_report(manifest: Manifest) -> None:
    """Raise FormatError unless the report in a manifest is as `SplitReport.manifest_entry` writes it."""
    report = manifest.report
    lists = [report.get(name, []) for name in ("patched", "dropped", "count_differences", "notes")]
    converted = report.get("converted", {})
    whole = isinstance(report.get("members", 0), int) and isinstance(converted, dict)
    whole = whole and all(isinstance(part, list) for part in (*lists, *converted.values()))
    whole = whole and all(
        isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("reason"), str)
        for entry in lists[1]
    )
    try:
        check_sizes(report.get("sizes", {}))
    except ValueError:
        whole = False
    if not whole or not all(isinstance(note, str) for note in lists[3]):
        raise FormatError(
            f"{manifest.split}.manifest.json: damaged report of the source; restore it, or make the shards again"
        )


def manifest_reports(manifests: Sequence[Manifest]) -> list[dict[str, Any]]:
    """Reports of finished splits in the form of `SplitReport.as_json`, from their manifests.

    Raises FormatError where the report in one is damaged.
    """
    for manifest in manifests:
        _check_report(manifest)
    return [
        {
            "split": manifest.split,
            "entries": manifest.report.get("entries", manifest.report.get("members", manifest.samples)),
            "ignored": manifest.report.get("ignored", {}),
            "missing": manifest.report.get("missing", 0),
            "members": manifest.report.get("members", manifest.samples),
            "written": manifest.samples,
            "patched": len(manifest.report.get("patched", [])),
            "dropped": manifest.report.get("dropped", []),
            "converted": {kind: len(keys) for kind, keys in manifest.report.get("converted", {}).items()},
            "shards": len(manifest.shards),
            "bytes": sum(shard.bytes for shard in manifest.shards),
            "classes_off_count": len(manifest.report.get("count_differences", [])),
            "notes": manifest.report.get("notes", []),
            "images_per_second": 0.0,
        }
        for manifest in manifests
    ]
