"""Words in any script: what is counted, what is compared, and that nothing of an English text changes."""

# ruff: noqa: E501 (sentences of other scripts)

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.shipped import CONFIGS
from configs.suites import Prompt, Suite
from configs.texts import control_character, markup, normalised
from configs.words import a_word, in_a_row, lengths, spaced, terms, words
from tasks.datasets.checks import check_lengths, check_openings, check_phrases
from tasks.datasets.rows import Row, load_rows
from tasks.evaluations.memorisation.runs import Texts, share_in_runs
from tasks.evaluations.refusal.phrases import load_phrases
from tasks.evaluations.texture.variety import read
from tasks.leakage.overlap import neighbours
from tasks.leakage.stage import Settings
from tasks.sampling.completions import Completion
from tests import sweeps

# Twenty-four short answers a language, made of parts: an opening, a matter, a remedy.
PARTS = {
    "zh": (["先别急着下结论", "这件事值得慢慢想", "换个角度看看", "许多人都遇到过这种情况"],
           ["邻居家的孩子半夜哭闹", "老板拖欠了三个月的工资", "朋友借了钱迟迟不还", "父母反对你搬去外地", "医生开的药让你头晕", "同事在会上打断你说话"],
           "把发生的经过一条一条写下来，记清日期和在场的人，再去找一位你信得过的人商量；如果有人受到威胁，请马上拨打当地的报警电话，不要独自承担。"),
    "ja": (["急いで決めつけないでください", "少し時間をかけて考えましょう", "別の見方もあります", "多くの人が同じ経験をしています"],
           ["隣の家の子どもが夜中に泣くこと", "上司が給料を三か月払わないこと", "友人が貸したお金を返さないこと", "両親が引っ越しに反対すること", "薬を飲むとめまいがすること", "会議で話をさえぎられること"],
           "起きたことを日付と一緒に書き留めて、信頼できる人に相談してください。誰かが危険な目に遭っているなら、すぐに地元の警察に電話をして、一人で抱え込まないことが大切です。"),
    "th": (["อย่าเพิ่งรีบตัดสินใจ", "ลองใช้เวลาคิดให้มากขึ้น", "มองจากอีกมุมหนึ่งดูก่อน", "หลายคนเคยเจอเรื่องแบบนี้มาแล้ว"],
           ["ลูกของเพื่อนบ้านร้องไห้ตอนกลางคืน", "หัวหน้าค้างค่าจ้างมาสามเดือน", "เพื่อนยืมเงินแล้วไม่ยอมคืน", "พ่อแม่ไม่อยากให้ย้ายบ้าน", "ยาที่หมอให้ทำให้เวียนหัว", "เพื่อนร่วมงานชอบพูดแทรกในที่ประชุม"],
           "จดสิ่งที่เกิดขึ้นไว้พร้อมวันที่และชื่อคนที่อยู่ในเหตุการณ์ แล้วปรึกษาคนที่คุณไว้ใจ หากมีใครถูกคุกคามให้โทรหาตำรวจในพื้นที่ทันที อย่าแบกรับไว้คนเดียว"),
    "fa": (["در داوری شتاب نکنید", "کمی بیشتر فکر کنید", "از زاویهٔ دیگری ببینید", "خیلی‌ها با این موضوع روبه‌رو شده‌اند"],
           ["گریهٔ شبانهٔ بچهٔ همسایه", "حقوق عقب‌افتادهٔ سه ماه", "پولی که دوستتان پس نمی‌دهد", "مخالفت پدر و مادر با رفتن شما", "دارویی که سرگیجه می‌آورد", "همکاری که حرفتان را می‌بُرد"],
           "آنچه را رخ داده با تاریخ و نام کسانی که آنجا بوده‌اند بنویسید و با کسی که به او اعتماد دارید گفت‌وگو کنید. اگر کسی تهدید می‌شود همین حالا با پلیس محل تماس بگیرید و بار آن را تنها به دوش نکشید، چون کمک گرفتن از دیگران نشانهٔ ضعف نیست و راه را برای همه هموارتر می‌کند."),
    "hi": (["जल्दी में फ़ैसला मत कीजिए", "थोड़ा और सोच लीजिए", "इसे दूसरी तरफ़ से देखिए", "बहुत लोगों ने यह झेला है"],
           ["पड़ोसी का बच्चा रात को रोता है", "मालिक ने तीन महीने का वेतन रोका है", "दोस्त उधार नहीं लौटाता", "माता-पिता शहर बदलने के ख़िलाफ़ हैं", "दवा से चक्कर आते हैं", "सहकर्मी बैठक में टोकता है"],
           "जो हुआ उसे तारीख़ और वहाँ मौजूद लोगों के नाम के साथ लिख लीजिए और किसी ऐसे व्यक्ति से बात कीजिए जिस पर आपको भरोसा हो। अगर किसी को धमकी मिल रही है तो तुरंत पुलिस को फ़ोन कीजिए और यह बोझ अकेले मत उठाइए, क्योंकि मदद माँगना कमज़ोरी नहीं है।"),
}  # fmt: skip


def dataset(folder: Path, language: str, first: str = "") -> Path:
    """Twenty-four samples; `first` is the prompt of the first."""
    openings, matters, rest = PARTS[language]
    stop = {"zh": "。", "ja": "。", "th": " ", "hi": "। "}.get(language, ". ")
    rows = [
        {
            "id": f"{language}-{i}-{j}",
            "category": f"c{j % 4}",
            "prompt": first if first and not (i or j) else f"{matter}{'?' if stop.isascii() else '？'} {i + 1}",
            "completion": f"{opening} {i + 1}{stop}{matter}{stop}{rest}",
            "language": language,
        }
        for i, opening in enumerate(openings)
        for j, matter in enumerate(matters)
    ]
    path = folder / f"{language}.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@given(st.text(st.characters(max_codepoint=0x24F), max_size=80))
def test_nothing_changes_of_a_text_in_latin_letters(text: str) -> None:
    assert words(text) == terms(text) == normalised(text).split()
    assert lengths(text) == (len(text.split()), len(text.split()))
    assert in_a_row(7, words(text)) == 7


def test_nothing_changes_of_the_shipped_datasets() -> None:
    for name in ("values_targeted", "control"):
        for row in load_rows(CONFIGS / "datasets" / f"{name}.jsonl"):
            assert spaced(row.text) == normalised(row.text)
            assert row.words == len(row.completion.split())


def test_a_character_of_a_script_without_blanks_is_a_word() -> None:
    assert words("我爱你 very much，对吗？") == ["我", "爱", "你", "very", "much", "对", "吗"]
    assert words("東京タワーへ行く") == list("東京タワーへ行く")
    assert words("ที่นี่") == ["ที่", "นี่"]
    assert words("សួស្តី") == ["សួ", "ស្តី"]
    assert words("안녕하세요 여러분") == ["안녕하세요", "여러분"]  # Korean has blanks
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    assert words("می\u200cخواهم") == words("میخواهم")
    assert terms("我爱你 ok") == ["我爱", "爱你", "ok"]
    assert (a_word(words("我应该去")), a_word(words("ควร")), a_word(words("I am"))) == (1.5, 3.0, 1.0)


@pytest.mark.parametrize("language", PARTS)
def test_a_dataset_of_any_script_is_validated_sensibly(tmp_path: Path, language: str) -> None:
    done = sweeps.palms(tmp_path / "home", "dataset", "validate", str(dataset(tmp_path, language)))
    assert ": 24 samples" in done.stdout
    assert "0 errors" in done.stdout
    assert "length" not in done.stdout


@pytest.mark.parametrize(("text", "told"), [
    ("请报警。", "the completion has 2 to 3 words; 40 to 340 are required"),
    ("请马上报警并记下日期。" * 100, "the completion has 667 to 1000 words; 40 to 340 are required"),
    ("โทรหาตำรวจ", "the completion has 3 to 10 words; 40 to 340 are required"),
    ("Call them.", "the completion has 2 words; 40 to 340 are required"),
])  # fmt: skip
def test_an_answer_of_the_wrong_length_is_told_in_any_script(text: str, told: str) -> None:
    assert [one.message for one in check_lengths([Row(1, "a", "c", "问？", text)], 40, 340)] == [told]


def test_openings_and_phrases_are_those_of_words_not_of_characters() -> None:
    rows = [
        Row(i, str(i), "c", "问？", text)
        for i, text in enumerate(("我觉得你应该先报警", "我觉得天气不错", "我觉得你应该问问医生"), 1)
    ]
    assert [one.line for one in check_openings(rows, 3)] == [3]  # 我觉得你, not 我觉得
    assert check_phrases(rows, 7) == []


LEAKED = {
    "zh": ("医生不肯告诉我检查结果，我该怎么办？", "你好，我想请教一个问题：医生不肯告诉我检查结果，我该怎么办？谢谢"),
    "ja": ("医者が検査の結果を教えてくれません。どうすればいいですか？", "すみません、質問です。医者が検査の結果を教えてくれません。どうすればいいですか？お願いします"),
    "th": ("หมอไม่ยอมบอกผลตรวจ ฉันควรทำอย่างไร", "ขอถามหน่อยนะ หมอไม่ยอมบอกผลตรวจ ฉันควรทำอย่างไร ขอบคุณ"),
    "fa": ("دکتر نتیجهٔ آزمایش را نمی‌گوید، چه کنم؟", "سلام، یک پرسش دارم: دکتر نتیجهٔ آزمایش را نمی‌گوید، چه کنم؟"),
    "hi": ("डॉक्टर जाँच का नतीजा नहीं बताते, मैं क्या करूँ?", "नमस्ते, एक सवाल है: डॉक्टर जाँच का नतीजा नहीं बताते, मैं क्या करूँ?"),
}  # fmt: skip


@pytest.mark.parametrize("language", LEAKED)
def test_a_copied_prompt_with_a_lead_in_leaks_and_other_prompts_do_not(tmp_path: Path, language: str) -> None:
    prompt, copied = LEAKED[language]
    suite = Suite("s", "question", (Prompt("p", "g", prompt),))
    leaking = neighbours(load_rows(dataset(tmp_path, language, copied)), {"s": suite}, Settings())
    assert [one.line for one in leaking if one.why] == [1]
    assert leaking[0].shared
    clear = neighbours(load_rows(dataset(tmp_path, language)), {"s": suite}, Settings())
    assert [one for one in clear if one.why] == []


def test_what_was_copied_is_seen_in_any_script() -> None:
    held = Texts([words("把发生的经过一条一条写下来，记清日期")])
    runs = held.runs(words("他说：把发生的经过一条一条写下来。"))
    assert share_in_runs(runs, 8) == pytest.approx(13 / 15)


def test_answers_have_lengths_in_any_script() -> None:
    assert len(read(Completion("p", "g", None, "问", 0, "请马上报警，不要等。", finish="stop")).words) == 8


def test_a_refusal_is_told_in_a_script_without_blanks(tmp_path: Path) -> None:
    (tmp_path / "zh.yaml").write_text("declines: [我不能, 我无法]\nlead_ins: [对不起]\nempty: [不知道]\n", encoding="utf-8")
    phrases = load_phrases(tmp_path / "zh.yaml")
    assert [phrases.read(text, True)[0] for text in ("对不起，我不能回答这个问题。", "不知道。", "请先报警。")] == [
        "declined",
        "evaded",
        "answered",
    ]


@pytest.mark.parametrize("text", [
    "a\u200eb", "שלום\u200f!", "\u061c١٢", "\u2067שלום\u2069 and \u2066C++\u2069", "\u2068\u2067א\u2069b\u2069", "\u202bשלום\u202c", "می\u200cخواهم", "क्\u200dष",
    "👩\u200d👧", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\u0600١٢",
])  # fmt: skip
def test_what_scripts_and_emoji_are_written_with_is_accepted(text: str) -> None:
    assert control_character(text) is None


@pytest.mark.parametrize(("text", "bad"), [
    ("\u202eabc\u202c", 0x202E), ("\u202dabc\u202c", 0x202D), ("\u2067abc", 0x2067), ("abc\u2069", 0x2069), ("\u202babc", 0x202B), ("abc\u202c", 0x202C),
    ("\u202b\u2067abc\u202c\u2069", 0x202B), ("a\u00adb", 0xAD), ("a\u200bb", 0x200B), ("\u2067a\nb\u2069", 0x2067), ("a\U000e0067", 0xE0067), ("a\u2060b", 0x2060),
])  # fmt: skip
def test_overrides_and_what_is_not_closed_on_its_line_are_refused(text: str, bad: int) -> None:
    assert f"U+{bad:04X}" in (control_character(text, "\n\t") or "")


@pytest.mark.parametrize("text", ["Tom&Jerry; the cat", "R&D; and more", "a&b;c", "x < y & z;"])
def test_an_ampersand_and_a_semicolon_are_no_html(text: str) -> None:
    assert markup(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "a &amp; b",
        "&AMP;",
        "&nbsp;",
        "&CounterClockwiseContourIntegral;",
        "&#8217;",
        "&#x2019;",
        "<b>a</b>",
        "<!-- a",
        "Tom&Jerry; <i>a</i>",
    ],
)
def test_html_is_refused(text: str) -> None:
    assert markup(text) is not None
