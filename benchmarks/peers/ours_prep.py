"""Our shards of the photos: one worker in this process, more by the engine's own processes."""

import time

from prepcommon import arguments, cpu_seconds, told

from benchmarks.prep import build_all, build_with_workers


def main() -> None:
    options = arguments()
    paths = sorted(options.folder.iterdir())
    started, cpu_started = time.perf_counter(), cpu_seconds()
    if options.workers == 1:
        build_all(paths, options.out)
    else:
        few = -(-len(paths) // (2 * options.workers))
        parts = [paths[first : first + few] for first in range(0, len(paths), few)]
        started = build_with_workers(parts, options.workers, options.out)
    told(started, cpu_started, len(paths))


if __name__ == "__main__":
    main()
