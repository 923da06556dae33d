"""LLaVA's pre-training set (Liu et al. 2023, section 4, CC3M-595K): captions that cover many concepts evenly."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from msgspec import Meta

from gristmill import Row, Rows, Run, recipe
from gristmill.ops.prompts import Prompt
from gristmill.recipes.multimodal.llava import IMAGE, LlavaConversation, turns

ASK_BRIEFLY = (
    Prompt("Describe the image briefly."),
    Prompt("What is this? Keep it short."),
    Prompt("Sum up the picture in a few words."),
    Prompt("Give a short description of what you see."),
    Prompt("Write a brief caption for this image."),
    Prompt("In one sentence, what does the photo show?"),
    Prompt("Tell me concisely what is in the image."),
    Prompt("Name the essentials of this picture, nothing more."),
    Prompt("Provide a compact summary of the scene."),
    Prompt("Say in brief what can be seen here."),
    Prompt("What is the gist of this image?"),
)
"""The human side; one is drawn for each caption."""

SEPARATORS = frozenset(
    """
    a an the this that these those some any each every no all both several many few more most another other such
    my your his her its our their i you he she it we they me him us them who whom which what whose there here
    one two three four five six seven eight nine ten
    and or but nor so yet if as than while when where because although
    of in on at by for with without from to into onto over under above below between among behind beside near next
    through across along around about against during before after up down off out inside outside towards toward per via
    is are was were be been being am has have had having do does did can could will would shall should may might must
    not very too also just only still even again together away back then now how why
    get gets got make makes made take takes taken go goes come comes see seen seem seems look looks show shows shown
    sit sits sat stand stands stood lie lies lay walk walks run runs ride rides hold holds held wear wears play plays
    """.split()  # noqa: SIM905 - forty lines of quotes otherwise
)
"""Words that no noun phrase holds, or that it leaves out: articles, pronouns, numbers up to ten, prepositions,
conjunctions, auxiliaries, and the verbs that captions use most."""
NOUNS_IN_ING = frozenset(
    """
    building buildings ceiling clothing drawing engraving evening king lightning lighting morning painting parking
    railing ring spring string thing training wedding wing awning swing earring dressing
    """.split()  # noqa: SIM905
)


class CaptionedImage(Row):
    image: str
    """Its path. It is never opened."""
    caption: str


@recipe("llava-pretrain")
async def llava_pretrain(
    rows: Rows[CaptionedImage],
    run: Run,
    *,
    noun_phrase_min_freq: Annotated[int, Meta(ge=1)] = 3,
    noun_phrase_cap: Annotated[int, Meta(ge=1)] = 100,
) -> AsyncIterator[LlavaConversation]:
    """Choose captions so that their noun phrases are spread evenly, and make each the answer to "describe it briefly".

    Phrases are gone through from the rarest to the most frequent, and all captions with a phrase join; of a phrase with
    more than the cap, as many chosen by chance. So a caption can join by a rare phrase, whatever else is in it. (Liu
    et al. 2023, "Visual Instruction Tuning", arXiv:2304.08485, section 4. No model is asked.)

    The paper takes spaCy's noun chunks. Here a noun phrase is a run of words between punctuation, function words, the
    most common verbs and, after another word, forms in -ing: no grammar, English only. A verb that this
    does not know makes a phrase longer and so rarer ("chef prepares soup"); a rare phrase that is none brings in a few
    captions more, but never more than the cap. Frequency counts captions, not mentions.

    Args:
        noun_phrase_min_freq: phrases of fewer captions are skipped.
        noun_phrase_cap: captions that one phrase brings in at most.

    Rejects: `no_phrase`, `rare` (each of its phrases is skipped; details: frequency of the most frequent), `over_cap`
        (none of its phrases chose it; details: frequency of the rarest), `image_mark` (has <image> in it).
    """
    holders: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        for phrase in noun_phrases(row.caption):
            holders.setdefault(phrase, []).append(number)
    chance = run.rng("captions")
    chosen: dict[int, None] = {}
    for _, numbers in sorted(holders.items(), key=lambda item: (len(item[1]), item[0])):
        if len(numbers) >= noun_phrase_min_freq:
            over = len(numbers) > noun_phrase_cap
            chosen |= dict.fromkeys(chance.sample(numbers, noun_phrase_cap) if over else numbers)

    for number, row in enumerate(rows):
        if number not in chosen:
            found = [len(holders[phrase]) for phrase in noun_phrases(row.caption)]
            common = [frequency for frequency in found if frequency >= noun_phrase_min_freq]
            if not found:
                run.reject(row, "no_phrase")
            elif not common:
                run.reject(row, "rare", frequency=max(found))
            else:
                run.reject(row, "over_cap", frequency=min(common))
    for number in chosen:
        caption = rows[number].caption.strip()
        if IMAGE in caption:
            run.reject(rows[number], "image_mark")
            continue
        ask = run.draw("ask_briefly", ASK_BRIEFLY)()
        made = LlavaConversation(turns(run, [ask, caption]), rows[number].image, "pretrain")
        run.link(made, rows[number])
        yield made


def noun_phrases(caption: str) -> list[str]:
    """Each noun phrase of a caption once, in lower case."""
    phrases: list[str] = []
    for piece in re.split(r"[^\w\s'’-]+", caption.lower()):
        words: list[str] = []
        for word in [*re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", piece), "the"]:  # a separator at the end closes the last
            verb = bool(words) and word.endswith("ing") and word not in NOUNS_IN_ING
            if word in SEPARATORS or verb:
                phrases.append(" ".join(words))
                words = []
            else:
                words.append(word)
    return list(dict.fromkeys(filter(None, phrases)))
