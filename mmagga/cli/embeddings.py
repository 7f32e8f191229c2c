"""Verbs that connect the kit to other programs: embed, search, score, export."""

from pathlib import Path

from mmagga.cli.chosen import run_config, run_folder
from mmagga.errors import SettingError
from mmagga.system.files import require_writable


def embed(
    run: Path,
    /,
    *,
    out: Path,
    root: Path | None = None,
    dataset: str | None = None,
    images: Path | None = None,
    device: str = "auto",
) -> None:
    """Write the embeddings of a data set, or of a folder of images, as a .npz file.

    Example: python -m mmagga embed runs/synthetic-mmagga-05b8b9687039 --out demo.npz

    Arrays, one row per tracklet: vectors, names, splits, pids, camids. See mmagga.retrieval.stored.

    Args:
        run: Run folder, or an authors' checkpoint file.
        out: File to write.
        root: Data folder, if different from training.
        dataset: Data set, if different from training.
        images: A folder of images, or of one folder of images per tracklet, instead of a data set.
        device: cpu, cuda or auto.
    """
    from dataclasses import replace

    from mmagga.data import load_for
    from mmagga.retrieval.stored import embed_tracklets, read_images
    from mmagga.runs.run import Run
    from mmagga.system.device import resolve_device

    if images and (root or dataset):
        raise SettingError("--images takes the place of --dataset and --root: give one of them")
    run = run_folder(run)
    config = run_config(run, dataset, root, device)
    require_writable(out)
    if images:
        tracklets, config = read_images(images), replace(config, packed=None)
    else:
        tracklets = load_for(config)
    stored = embed_tracklets(Run(run).load_model(resolve_device(device)), tracklets, config)
    stored.save(out)
    count, numbers = stored.vectors.shape
    print(f"{count:,} tracklets, {numbers} numbers each: {out}")


def search(
    file: Path,
    /,
    *,
    query: str | None = None,
    top: int = 10,
    threshold: float | None = None,
    labelled: Path | None = None,
    out: Path | None = None,
    merges: Path | None = None,
) -> None:
    """List the nearest tracklets of one or of all, and which may be one person.

    Example: python -m mmagga search own.npz --labelled demo.npz --merges who.csv

    Args:
        file: Embeddings that `embed` wrote.
        query: A tracklet, by row or name; by default all.
        top: Tracklets to list for each.
        threshold: Distance up to which two tracklets are taken for one person.
        labelled: Embeddings, by the same network, of people who are known, to choose it from; by
            default the file itself, if it knows people under several cameras.
        out: CSV file for the lists.
        merges: CSV file for suggested merges, a draft of what `data crop --identities` reads.
    """
    from mmagga.retrieval.search import choose_threshold, suggest_merges
    from mmagga.retrieval.search import search as nearest
    from mmagga.retrieval.stored import load_embeddings
    from mmagga.system.files import write_csv

    if threshold is not None and merges is None:
        raise SettingError("--threshold says which pairs go into --merges FILE: give both")
    for path in filter(None, (out, merges)):
        require_writable(path)
    stored = load_embeddings(file)
    table = nearest(stored, query, top)
    if out is not None:
        write_csv(out, table)
        print(f"{len(table):,} rows: {out}")
    else:
        shown = table if query is not None else table[table["rank"] <= 3].head(60)
        print(shown.to_string(index=False, float_format="{:.4f}".format))
    if threshold is None and (merges or labelled):
        chosen = choose_threshold(load_embeddings(labelled) if labelled else stored)
        threshold = chosen.distance
        print(
            f"threshold {threshold:.4f}: {chosen.accepted:.1%} of the pairs of different persons "
            f"are nearer, {chosen.refused:.1%} of those of one person are farther"
        )
    if merges is not None and threshold is not None:
        suggested = suggest_merges(stored, threshold)
        write_csv(merges, suggested)
        print(f"{len(suggested) // 2} pairs to look at: {merges}")


def score(
    file: Path,
    /,
    *,
    dataset: str | None = None,
    root: Path | None = None,
    split: int = 0,
    protocol: str | None = None,
    out: Path | None = None,
    height: int = 256,
    width: int = 128,
    top: int = 10,
) -> None:
    """Score any model's embeddings: protocols, intervals, yardsticks, tables.

    Example: python -m mmagga score osnet.npz --dataset mars --root /data/mars

    The file is a .npz with vectors and names, or with vectors, splits, pids and camids; see
    mmagga.retrieval.stored. With a data set, non-learned baselines stand beside the model.

    Args:
        file: The embeddings.
        dataset: Data set that they are of.
        root: Its folder.
        split: Which of ten splits, where there are ten.
        protocol: mars, mars_without_queries, query_gallery, two_camera; by default the data set's.
        out: Folder to make; by default FILE-scores beside the file.
        height: Pixels that the yardsticks' frames are resized to.
        width: Likewise.
        top: Length of the rank lists.
    """
    from mmagga.data import load_checked
    from mmagga.retrieval.stored import load_embeddings
    from mmagga.studies.ledger import show
    from mmagga.studies.scoring import judge

    if (dataset is None) != (root is None):
        raise SettingError("--dataset and --root belong together: give both or neither")
    folder = out or file.with_name(f"{file.stem}-scores")
    require_writable(folder / "tables.md")
    stored = load_embeddings(file)
    tracklets = None if dataset is None else load_checked(dataset, root, split)
    judged = judge(stored, tracklets, protocol=protocol, size=(height, width), top=top)
    print(f"{judged.table(file.stem).markdown()}\n{show(judged.ledger)}")
    for path in judged.write(folder, file.stem):
        print(path)


def export(run: Path, /, out: Path, check: tuple[int, ...] = (1, 3)) -> None:
    """Write a run's network as ONNX, with a free batch, checked against torch.

    Example: python -m mmagga export runs/synthetic-mmagga-05b8b9687039 --out network.onnx

    Needs the extra "onnx": python -m pip install 'mmagga[onnx]'.

    Args:
        run: Run folder, or an authors' checkpoint file.
        out: File to write.
        check: Batch sizes to run in onnxruntime and in torch.
    """
    from mmagga.model.export import export_onnx
    from mmagga.runs.run import Run

    require_writable(out)
    run = run_folder(run)
    config = Run(run).load_config()
    size = config.height, config.width
    found = export_onnx(
        Run(run).load_model("cpu"), out, frames=config.frames, size=size, batches=check
    )
    for batch, difference in found.items():
        print(
            f"batch {batch}: largest difference from torch {difference:.1e} of the largest number"
        )
    print(f"written: {out}, {out.stat().st_size / 1e6:.1f} MB")
