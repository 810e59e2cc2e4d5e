"""The film corpus: its odd format, read exactly."""

import json
import zipfile
from pathlib import Path

import pytest

from llm.dialogue import n_exchanges
from llm.fetching.download import DownloadError, HttpConfig
from llm.files import file_sha256
from llm.sources.collect import collect, take
from llm.sources.cornell import CONVERSATIONS, LINES, CornellConfig, read_cornell
from tests.fetching.test_download import server  # noqa: F401  a fixture

HTTP = HttpConfig(timeout_s=1.0, retries=0, backoff_s=0.0)
FOLDER = "cornell movie-dialogs corpus"
SEP = " +++$+++ "


def line(id: str, user: str, text: str, film: str = "m0") -> str:
    return SEP.join([id, user, film, "NAME", text])


def conversation(ids: list[str], film: str = "m0") -> str:
    return SEP.join(["u0", "u1", film, str(ids)])


def make_zip(folder: Path, lines: list[str], conversations: list[str], encoding: str = "cp1252") -> Path:
    path = folder / "corpus.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{FOLDER}/{LINES}", "\n".join([*lines, ""]).encode(encoding))
        archive.writestr(f"{FOLDER}/{CONVERSATIONS}", "\n".join([*conversations, ""]).encode(encoding))
        archive.writestr(f"__MACOSX/{FOLDER}/._{LINES}", b"\x00\x05\x16\x07")
    return path


def read(tmp_path, lines, conversations):
    return read_cornell(CornellConfig(str(make_zip(tmp_path, lines, conversations)), None), "dialogue", HTTP)


def test_a_conversation_is_one_dialogue_and_its_film_the_group(tmp_path):
    lines = [
        line("L3", "u0", "Bye."),
        line("L2", "u1", "Hello."),
        line("L1", "u0", "Hi."),
    ]  # the corpus lists backwards
    corpus = read(tmp_path, lines, [conversation(["L1", "L2", "L3"])])
    (dialogue,) = corpus.dialogues
    assert (dialogue.id, dialogue.source, dialogue.group) == ("cornell-L1", "dialogue", "cornell-m0")
    assert dialogue.turns == ("Hi.", "Hello.", "Bye.")


def test_lines_of_one_speaker_in_a_row_are_one_turn(tmp_path):
    lines = [line("L1", "u0", "Hi."), line("L2", "u0", "You there?"), line("L3", "u1", "Yes.")]
    (dialogue,) = read(tmp_path, lines, [conversation(["L1", "L2", "L3"])]).dialogues
    assert dialogue.turns == ("Hi.\nYou there?", "Yes.")


def test_empty_lines_join_the_turns_around_them(tmp_path):
    lines = [line("L1", "u0", "Hi."), line("L2", "u1", " "), line("L3", "u0", "Hello?"), line("L4", "u1", "Yes?")]
    corpus = read(tmp_path, lines, [conversation(["L1", "L2", "L3", "L4"])])
    assert corpus.dialogues[0].turns == ("Hi.\nHello?", "Yes?")
    assert corpus.counts["empty_lines"] == 1


def test_a_separator_that_lost_its_last_space_is_an_empty_line(tmp_path):
    lines = [line("L1", "u0", "Hi."), line("L2", "u1", "").rstrip(), line("L3", "u1", "Yes?")]
    assert read(tmp_path, lines, [conversation(["L1", "L2", "L3"])]).dialogues[0].turns == ("Hi.", "Yes?")


def test_windows_characters_are_read_as_windows_wrote_them(tmp_path):
    lines = [line("L1", "u0", "It’s – well…"), line("L2", "u1", "Café?")]
    corpus = read(tmp_path, lines, [conversation(["L1", "L2"])])
    assert corpus.dialogues[0].turns == ("It’s – well…", "Café?")
    assert corpus.counts["undecodable_lines"] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_copy_in_utf_8_is_read_as_utf_8(tmp_path, encoding):
    lines = [line("L1", "u0", "She said “no” – don’t."), line("L2", "u1", "Café?")]
    path = make_zip(tmp_path, lines, [conversation(["L1", "L2"])], encoding)
    corpus = read_cornell(CornellConfig(str(path), None), "dialogue", HTTP)
    assert corpus.dialogues[0].turns == ("She said “no” – don’t.", "Café?")
    assert corpus.counts["undecodable_lines"] == 0


def test_the_reported_copy_in_utf_8_is_read(real_data):
    path = real_data / "reports" / "19-cornell-utf8" / "cornell_utf8.zip"
    turns = [
        turn
        for dialogue in read_cornell(CornellConfig(str(path), None), "dialogue", HTTP).dialogues
        for turn in dialogue.turns
    ]
    assert "She said “no 1” – don’t." in turns and not any("\ufffd" in turn or "â" in turn for turn in turns)


def films(n, talks=4):
    """Lines and conversations of `n` films, each with as many conversations of one exchange."""
    lines, conversations = [], []
    for i in range(n * talks):
        ids, film = [f"L{2 * i}", f"L{2 * i + 1}"], f"m{i // talks}"
        lines += [line(ids[0], "u0", f"Word {i}?", film), line(ids[1], "u1", f"No {i}.", film)]
        conversations.append(conversation(ids, film))
    return lines, conversations


def test_a_limit_draws_films_over_the_corpus_and_a_higher_one_only_adds(tmp_path):
    dialogues = read(tmp_path, *films(40)).dialogues
    few, many = take(dialogues, 40), take(dialogues, 80)  # 4 exchanges a film: 10 and 20 whole films
    drawn = {dialogue.group for dialogue in few}
    assert len(drawn) == 10 and all(sum(d.group == film for d in few) == 4 for film in drawn)
    assert many[: len(few)] == few
    assert {int(film.removeprefix("cornell-m")) // 10 for film in drawn} == {0, 1, 2, 3}  # of each quarter of the file


def test_films_are_drawn_alike_whatever_stands_in_the_file_before_them(tmp_path):
    lines, conversations = films(12)
    order = [dialogue.group for dialogue in read(tmp_path, lines, conversations).dialogues]
    again = [dialogue.group for dialogue in read(tmp_path, lines, conversations[::-1]).dialogues]
    fewer = [dialogue.group for dialogue in read(tmp_path, lines, conversations[:24]).dialogues]
    assert order == again and fewer == [film for film in order if film in set(fewer)]


def test_the_record_says_how_many_films_there_are_and_how_many_were_drawn(tmp_path):
    corpus = read(tmp_path, *films(12))
    collected = collect("dialogue", {"cornell": lambda: corpus}, ["cornell"], False, 20)
    [served] = collected.provenance["served"]
    assert (corpus.counts["films"], served["used_groups"]) == (12, 5)


def test_no_secret_of_the_location_is_recorded(server, tmp_path, caplog):  # noqa: F811
    caplog.set_level("DEBUG", "llm")
    lines = [line("L1", "u0", "Hi."), line("L2", "u1", "Yes.")]
    server.content = make_zip(tmp_path, lines, [conversation(["L1", "L2"])]).read_bytes()
    server.plan = [503]
    url = server.url.replace("//", "//hush0:hush1@") + "?X-Amz-Signature=hush2"
    corpora = {
        "cornell": lambda: read_cornell(
            CornellConfig(url, None), "dialogue", HttpConfig(timeout_s=5.0, retries=1, backoff_s=0.0)
        )
    }
    provenance = collect("dialogue", corpora, ["cornell"], False, 10).provenance
    assert provenance["served"][0]["location"] == server.url + "?..."
    assert "503" in caplog.text and "hush" not in caplog.text + json.dumps(provenance, default=str)


def test_control_characters_inside_a_text_do_not_break_the_line(tmp_path):
    lines = [line("L1", "u0", "one\x0btwo\x1cthree"), line("L2", "u1", "ok")]
    assert read(tmp_path, lines, [conversation(["L1", "L2"])]).dialogues[0].turns[1] == "ok"


def test_a_text_may_hold_the_separator(tmp_path):
    lines = [line("L1", "u0", "a +++$+++ b"), line("L2", "u1", "ok")]
    assert read(tmp_path, lines, [conversation(["L1", "L2"])]).dialogues[0].turns[0] == "a +++$+++ b"


def test_conversations_that_cannot_be_used_are_counted(tmp_path):
    lines = [line("L1", "u0", "Hi."), line("L2", "u0", "Anyone?"), line("L3", "u1", "Yes.")]
    conversations = [conversation(["L1", "L9"]), conversation(["L1", "L2"]), conversation(["L2", "L3"])]
    corpus = read(tmp_path, lines, conversations)
    assert len(corpus.dialogues) == 1
    assert corpus.counts["rows"] == 3
    assert corpus.counts["conversations_with_unknown_lines"] == 1
    assert corpus.counts["conversations_of_one_turn"] == 1


@pytest.mark.parametrize(
    "listed",
    ["[" * 5000, "[" + "-" * 100_000 + "1]", "['L1'", "[L1]", "__import__('os').getcwd()", "'L1'", "[]", "[1]"],
)
def test_what_is_no_list_of_ids_is_refused_with_its_line(tmp_path, listed):
    with pytest.raises(ValueError, match=r"line 2: .*not a list of line ids"):
        read(
            tmp_path,
            [line("L1", "u0", "Hi."), line("L2", "u1", "Yes.")],
            [conversation(["L1", "L2"]), SEP.join(["u0", "u1", "m0", listed])],
        )


def test_another_format_is_refused_with_its_line(tmp_path):
    with pytest.raises(ValueError, match=r"movie_lines\.txt, line 1: 1 fields instead of 5"):
        read(tmp_path, ["L1,u0,hello"], [])


def test_a_line_id_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="line 2: L1 occurs twice"):
        read(tmp_path, [line("L1", "u0", "a"), line("L1", "u0", "b")], [])


def test_the_record_names_the_file_its_hash_and_the_licence(tmp_path):
    corpus = read(tmp_path, [line("L1", "u0", "Hi."), line("L2", "u1", "Yes.")], [conversation(["L1", "L2"])])
    assert corpus.location == "corpus.zip"
    assert corpus.sha256 == file_sha256(tmp_path / "corpus.zip")
    assert "research" in corpus.licence


def test_a_wrong_hash_is_refused(tmp_path):
    with pytest.raises(DownloadError, match="sha256"):
        read_cornell(CornellConfig(str(make_zip(tmp_path, [], [])), "0" * 64), "dialogue", HTTP)


def test_the_real_excerpt_gives_its_conversations(tmp_path, real_data):
    raw = real_data / "cornell_raw_excerpt"
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        for name in (LINES, CONVERSATIONS):
            archive.write(raw / name, f"{FOLDER}/{name}")
    corpus = read_cornell(CornellConfig(str(tmp_path / "c.zip"), None), "dialogue", HTTP)
    assert corpus.counts["rows"] == 201
    assert "conversations_with_unknown_lines" not in corpus.counts
    first = corpus.dialogues[0]
    assert first.id == "cornell-L194"
    assert first.turns[1] == "Well, I thought we'd start with pronunciation, if that's okay with you."
    assert max(map(n_exchanges, corpus.dialogues)) > 3


def test_the_whole_corpus_is_read(real_data):  # 129,000 conversations of two lines, 149 lines empty
    path = real_data / "cornell_movie_dialogs_corpus.zip"
    sha256 = "a38656bc6bbbd75fcef5823ebd7d48ee1f1b4425a866f0f6fdf47ca72d9755b2"
    corpus = read_cornell(CornellConfig(path.as_uri(), sha256), "dialogue", HTTP)
    assert corpus.counts["rows"] == 129_000
    assert len(corpus.dialogues) + corpus.counts["conversations_of_one_turn"] == 129_000
    assert len({dialogue.group for dialogue in corpus.dialogues}) == 617
    assert not any("<u>" in turn or "\t" in turn or not turn for d in corpus.dialogues for turn in d.turns)
