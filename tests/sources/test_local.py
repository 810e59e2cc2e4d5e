"""The provider `local`: own files of every form become dialogues and sections, whole, masked, with lasting ids."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm.dialogue import Dialogue
from llm.fetching.download import HttpConfig
from llm.sources import Corpus
from llm.sources import local as local_module
from llm.sources.local import Found, LocalConfig, data_sha256, local_data, local_dialogues, read_local
from llm.sources.masking import RULES

HTTP = HttpConfig(timeout_s=5, retries=0, backoff_s=0)
PAIRS = [{"question": f"Why is {i}?", "answer": f"Because of {i}."} for i in range(7)]


def config(location: Path | str, **changes: Any) -> LocalConfig:
    return LocalConfig(
        **{"location": str(location), "form": None, "columns": None, "licence": "own", "mask": ()} | changes
    )


def read(location: Path | str, limit: int = 1000, **changes: Any) -> Corpus:
    return read_local(config(location, **changes), "mine", limit, HTTP)


def turns(corpus: Corpus) -> list[tuple[str, ...]]:
    return [dialogue.turns for dialogue in corpus.dialogues]


EXPECTED = [(row["question"], row["answer"]) for row in PAIRS]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(rows)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    return path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def files_of_pairs(folder: Path) -> Iterator[Path]:
    """The same seven rows in every kind of file."""
    lines = write_jsonl(folder / "a.jsonl", PAIRS).read_bytes()
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (folder / "c.json").write_text(json.dumps(PAIRS, indent=1), encoding="utf-8")
    (folder / "d.json").write_bytes(lines)
    (folder / "e.json").write_text(json.dumps({"version": 1, "data": PAIRS}), encoding="utf-8")
    (folder / "f.jsonl").write_text(json.dumps(PAIRS), encoding="utf-8")
    (folder / "g.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\r\n"))
    (folder / "h.jsonl").write_bytes(lines.decode().encode("utf-16"))
    (folder / "i.json").write_bytes(json.dumps(PAIRS).encode("utf-16"))
    yield from sorted(folder.iterdir())
    yield write_csv(folder / "j.csv", PAIRS)
    yield write_csv(folder / "k.tsv", PAIRS)
    yield write_table(folder / "l.parquet", PAIRS)
    yield write_table(folder / "m.arrow", PAIRS)


def test_every_kind_of_file_gives_the_same_dialogues(tmp_path: Path) -> None:
    files = list(files_of_pairs(tmp_path))
    assert len(files) == 13
    for file in files:
        assert turns(read(file)) == EXPECTED, file


def test_ids_name_file_and_line_and_do_not_change(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "own.jsonl", PAIRS)
    (tmp_path / "part").mkdir()
    write_jsonl(tmp_path / "part/own.jsonl", PAIRS[:1])
    first, *_, last = read(tmp_path).dialogues
    assert first == Dialogue("mine/own.jsonl:1", "mine", "mine/own.jsonl:1", EXPECTED[0])
    assert last.id == "mine/part/own.jsonl:1"
    assert [dialogue.id for dialogue in read(tmp_path / "own.jsonl").dialogues][-1] == "mine/own.jsonl:7"


def test_a_named_column_groups_the_rows(tmp_path: Path) -> None:
    rows = [row | {"thread": thread} for row, thread in zip(PAIRS, [4, 4, None, 5, 5, 5, ""], strict=True)]
    groups = [d.group for d in read(write_jsonl(tmp_path / "own.jsonl", rows), columns={"group": "thread"}).dialogues]
    assert groups[:2] == ["mine/4"] * 2
    assert groups[2] == "mine/own.jsonl:3"
    assert groups[3:] == ["mine/5"] * 3 + ["mine/own.jsonl:7"]


def test_no_more_is_read_than_the_limit_takes(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "own.jsonl", PAIRS * 100)
    with file.open("a", encoding="utf-8") as opened:
        opened.write("{broken")
    assert turns(read(file, limit=5)) == EXPECTED[:5]
    with pytest.raises(ValueError, match=r"own\.jsonl, line 701: broken JSON"):
        read(file)


def test_rows_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first dialogue is there before the last row is read, so that a file may exceed the memory."""
    file = write_jsonl(tmp_path / "own.jsonl", PAIRS * 100)
    passed = 0

    def counted(*arguments: Any) -> Iterator[Any]:
        nonlocal passed
        for item in file_rows(*arguments):
            passed += 1
            yield item

    file_rows = local_module.file_rows
    monkeypatch.setattr(local_module, "file_rows", counted)
    settings = config(file)
    next(local_dialogues(local_data(settings, HTTP), settings, "mine", Found()))
    assert passed == local_module.ROWS_SEEN


def test_system_turns_and_what_is_left_out_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "Hello."},
    ]
    tools = [said[1], {"role": "tool", "content": "{}"}, said[2]]
    rows = [
        {"messages": said},
        {"messages": tools},
        said[1:],
        {"messages": said[1:]},
        {"messages": said[1:2]},
        {"messages": said},
    ]
    with caplog.at_level("INFO"):
        corpus = read(write_jsonl(tmp_path / "own.jsonl", rows))
    assert [dialogue.system for dialogue in corpus.dialogues] == ["Be kind.", None, None, "Be kind."]
    assert corpus.counts == {"rows": 6, "rows_with_tools": 1, "rows_of_one_turn": 1}
    assert "own.jsonl has the form messages" in caplog.text


@pytest.mark.parametrize(
    ("question", "answer"),
    [("为什么天空是蓝色的？", "因为空气散射蓝光。"), ("لماذا السماء زرقاء؟", "لأن الهواء يشتت الضوء.")],
)
def test_other_languages(tmp_path: Path, question: str, answer: str) -> None:
    assert turns(
        read(
            write_jsonl(tmp_path / "own.jsonl", [{"问题": question, "答案": answer}]),
            columns={"prompt": "问题", "reply": "答案"},
        )
    ) == [(question, answer)]
    assert turns(read(write_csv(tmp_path / "own.csv", [{"question": question, "answer": answer}]))) == [
        (question, answer)
    ]
    (tmp_path / "book.txt").write_text((question + answer) * 900, encoding="utf-8")
    sections = read(tmp_path / "book.txt").dialogues
    assert "".join(section.turns[0] for section in sections).replace(" ", "") == ((question + answer) * 900).replace(
        " ", ""
    )
    assert all(2000 < len(section.turns[0]) <= 4000 for section in sections[:-1])


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_a_csv_is_read_by_the_separator_of_its_first_line(tmp_path: Path, separator: str) -> None:
    rows = [("question", "answer"), ("Why, and how; when?", 'So, "so"; now.'), ("Who?", "Ann;\n\tBob, Eve.")]
    with (tmp_path / "own.csv").open("w", encoding="utf-8-sig", newline="") as file:
        file.write("\n")
        csv.writer(file, delimiter=separator).writerows(rows)
    corpus = read(tmp_path / "own.csv")
    assert turns(corpus) == rows[1:]
    assert [dialogue.id for dialogue in corpus.dialogues] == ["mine/own.csv:3", "mine/own.csv:4"]


def test_a_text_is_read_in_contiguous_sections(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(
        "\n\n".join(f"Paragraph {i}. " + "word " * 90 for i in range(60)), encoding="utf-8"
    )
    sections = read(tmp_path).dialogues
    assert [(d.id, d.group, d.kind) for d in sections[:2]] == [
        ("mine/book.txt#0001", "mine/book.txt", "document"),
        ("mine/book.txt#0002", "mine/book.txt", "document"),
    ]
    assert " ".join(d.turns[0] for d in sections).split() == (tmp_path / "book.txt").read_text(encoding="utf-8").split()


def test_rows_of_text_are_documents(tmp_path: Path) -> None:
    corpus = read(write_jsonl(tmp_path / "own.jsonl", [{"text": "Once."}, {"text": "Twice. " * 800}]))
    assert [d.id for d in corpus.dialogues] == [
        "mine/own.jsonl:1#0001",
        "mine/own.jsonl:2#0001",
        "mine/own.jsonl:2#0002",
    ]
    assert {d.group for d in corpus.dialogues[1:]} == {"mine/own.jsonl:2"}


def test_masked_texts_are_counted(tmp_path: Path) -> None:
    rows = [
        {"system": "You are ann@example.com.", "question": "Who are you?", "answer": "Call 555-010-9999."},
        PAIRS[0],
    ]
    file = write_jsonl(tmp_path / "own.jsonl", rows)
    corpus = read(file, mask=tuple(RULES))
    assert corpus.dialogues[0].system == "You are [email]."
    assert corpus.dialogues[0].turns == ("Who are you?", "Call [phone].")
    assert corpus.counts == {"rows": 2, "masked_email": 1, "masked_phone": 1}
    assert read(file).dialogues[0].turns[1] == "Call 555-010-9999."


def test_the_hash_changes_with_any_file(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write_jsonl(tmp_path / name, PAIRS)
    before = data_sha256(local_data(config(tmp_path), HTTP))
    assert data_sha256(local_data(config(tmp_path), HTTP)) == before
    write_jsonl(tmp_path / "b.jsonl", PAIRS[1:])
    assert data_sha256(local_data(config(tmp_path), HTTP)) != before


@pytest.mark.parametrize("changes", [{"form": "chat"}, {"mask": ("names",)}, {"columns": {"promt": "q"}}])
def test_a_config_that_can_never_fit_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        config("own.jsonl", **changes)


def test_reported_answers_that_are_no_text(real_data: Path) -> None:
    folder = real_data / "reports/12-answers-no-text"
    assert turns(read(folder / "bool.jsonl"))[0] == ("Is 1 even?", "false")
    assert turns(read(folder / "float.jsonl"))[0][1] == "0.5"
    assert turns(read(folder / "mixed.jsonl"))[1][1] == "It is 12"
    assert turns(read(folder / "date_strings.jsonl"))[0][1] == "2019-03-01"
    assert turns(read(folder / "question_int.jsonl"))[0][0] == "1"
    assert read(folder / "one_null.jsonl").counts == {"rows": 5, "rows_without_text": 1}
    with pytest.raises(ValueError, match=r"object\.jsonl, line 1: its answer is an object, not a text"):
        read(folder / "object.jsonl")


def test_reported_places(real_data: Path) -> None:
    reports = real_data / "reports"
    assert read(reports / "13-metadata-beside/save_to_disk").dialogues
    assert len(read(reports / "21-brackets-in-path/corpora [v2]").dialogues) == 5
    assert len(read(reports / "21-brackets-in-path/own[1].jsonl").dialogues) == 5
    assert read(reports / "17-folder-of-one-slash/data/mine").dialogues
