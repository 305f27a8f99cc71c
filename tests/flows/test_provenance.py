"""Every picture file of a run says how it was made, the export keeps it, and adloom provenance tells."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
from PIL import Image

from contracts.decisions import Kind, Role
from contracts.provenance import COMPOSED, PAINTED
from contracts.run_creatives import run_creatives
from contracts.settings import ExportSettings
from contracts.stamps import is_as_stamped, read_stamp, unstamped
from contracts.tables import GENERAL_COHORT
from flows.ask_redraw import request
from flows.command_line import execute
from flows.export_creatives import export
from flows.job import Job
from flows.open_reviews import hashed_creatives, open_log
from flows.redraw_creatives import draw_again
from flows.sign_pictures import read_manifest
from review.ad_sheets import from_csv
from review.archive import read_archive
from review.decisions import Said
from tests.flows.certificates import make_chain


def test_every_picture_of_a_batch_and_of_a_redraw_says_truly_how_it_was_made(job: Job) -> None:
    first = run_creatives(job.run).row(0, named=True)
    draw_again(job, request(job.run, first["creative_id"], ["too_dark"], "ann"))
    rows = {row["creative_id"]: row for row in run_creatives(job.run).iter_rows(named=True)}
    concepts = {row["concept_id"]: row for row in pl.read_parquet(job.run / "sources" / "concepts.parquet").to_dicts()}
    policy = pl.read_parquet(job.run / "ranking" / "slates.parquet")["policy_hash"][0]
    kinds = ("images", "renditions", "scenes")
    pictures = [path for path in job.run.rglob("*") if path.suffix in {".png", ".jpg"} and set(kinds) & set(path.parts)]
    assert len(pictures) > 2 * len(rows)
    assert any("~" in name for name in rows), "something was drawn again"
    for path in pictures:
        content = path.read_bytes()
        told = read_stamp(content, where=str(path))
        assert told is not None, path
        assert is_as_stamped(content, told)
        name = path.parent.name if "renditions" in path.parts else path.stem
        row = rows[name]
        assert told.creative_id == name
        for ours in ("concept_id", "generator", "seed"):
            assert getattr(told, ours) == row[ours]
        assert (told.model_hash, told.policy_hash) == (row["weights_hash"], policy)
        has_product = concepts[row["concept_id"]]["product_image"] is not None
        assert told.source_type == (COMPOSED if has_product else PAINTED)
    written = {
        row["file"]: row["bytes"] for row in pl.read_parquet(job.run / "generators" / "renditions.parquet").to_dicts()
    }
    assert all((job.run / "generators" / file).stat().st_size == size for file, size in written.items())


def test_the_export_keeps_the_stamps_and_its_sheets_say_what_the_files_say(job: Job, tmp_path: Path) -> None:
    rows = hashed_creatives(job.run).filter(pl.col("checks").list.len() == 0)
    one = rows.filter(pl.col("cohort") == GENERAL_COHORT).row(0, named=True)
    with open_log(job.run) as log:
        for who in ("ann", "bob"):
            log.record(
                Said(reviewer=who, role=Role.APPROVER, run_id=job.run_id, creative_id=one["creative_id"],
                     file_hash=one["file_hash"], kind=Kind.APPROVE)
            )  # fmt: skip
        export(job, log, tmp_path / "x.zip")
        held = read_archive(tmp_path / "x.zip")
        manifest = json.loads(held["manifest.json"])
        sheet = {row["file"]: row["digital_source_type"] for row in from_csv(held["creatives.csv"])}
        for name, about in manifest["files"].items():
            told = read_stamp(held[name])
            assert told is not None
            assert told.creative_id == one["creative_id"]
            assert about["digital_source_type"] == sheet[name] == told.source_type
        assert manifest["synthetic"]["digital_source_types"] == sorted(set(sheet.values()))
        assert not manifest["signed"]
        chain = make_chain(tmp_path)
        signing = ExportSettings(certificate=chain.certificate, private_key=chain.private_key)
        export(job, log, tmp_path / "signed.zip", settings=signing)
        sealed = read_archive(tmp_path / "signed.zip")
        manifest = json.loads(sealed["manifest.json"])
        assert manifest["signed"]
        assert set(manifest["files"]) == {name for name in held if name.endswith((".png", ".jpg"))}
        for name, about in manifest["files"].items():
            found = read_manifest(sealed[name], where=name, anchors=chain.root)
            assert found is not None
            assert found.state == "Trusted"
            assert found.actions[0]["digitalSourceType"] == about["digital_source_type"]
            assert (about["sha256"], about["bytes"]) == (sha256(sealed[name]).hexdigest(), len(sealed[name]))
        # a picture whose stamp was taken out is another file: nothing is exported
        path = job.run / one["file"]
        path.write_bytes(unstamped(path.read_bytes()))
        with pytest.raises(Exception, match="the picture has changed"):
            export(job, log, tmp_path / "y.zip")


def test_adloom_provenance_prints_what_files_say_and_exits_1_where_pixels_are_others(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = run_creatives(job.run).row(0, named=True)
    good = job.run / row["file"]
    assert execute(["provenance", str(good)]) == 0
    said = capsys.readouterr().out
    assert row["weights_hash"] in re.sub(r"[\s│]", "", said), "folded, never cut"
    assert "are those that were stamped" in said
    with Image.open(good) as opened:
        changed = opened.copy()
        changed.putpixel((3, 3), (255, 0, 255))
        other = tmp_path / "other.png"
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", opened.info["XML:com.adobe.xmp"])
        changed.save(other, pnginfo=info)
    Image.new("RGB", (9, 9)).save(tmp_path / "silent.png")
    assert execute(["provenance", str(good), str(other), str(tmp_path / "silent.png"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [one["as_stamped"] for one in told] == [True, False, False]
    assert told[0]["provenance"]["seed"] == row["seed"]
    assert told[0]["provenance"]["model_hash"] == row["weights_hash"]
    assert told[1]["provenance"]["creative_id"] == row["creative_id"]
    assert told[2]["provenance"] is None
    (tmp_path / "no.png").write_bytes(b"no picture")
    for bad in (
        ["provenance"],
        ["provenance", str(tmp_path / "no.png")],
        ["provenance", str(tmp_path / "missing.png")],
    ):
        assert execute(bad) == 2
        assert capsys.readouterr().err.count("\n") == 1
