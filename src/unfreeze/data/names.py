"""The words by which people call columns."""

from __future__ import annotations

TEXT = (
    "text", "sentence", "tweet", "review", "review_text", "content", "message", "sms", "body", "comment",
    "comment_text", "utterance", "query", "question", "document", "post", "headline", "title", "abstract",
    "description", "prompt", "input", "article", "passage", "sentence1", "premise", "text1", "text_a",
    "question1", "statement",
)  # fmt: skip
PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("text1", "text2"),
    ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("sentence_1", "sentence_2"), ("text_1", "text_2"),
    ("question", "passage"), ("question", "context"), ("question", "sentence"), ("question", "answer"),
    ("query", "document"), ("query", "passage"), ("claim", "evidence"), ("text", "text_pair"), ("text", "text2"),
)  # fmt: skip
IMAGE = (
    "image", "img", "picture", "photo", "image_path", "img_path", "image_file", "file_name", "filename", "file", "path",
    "filepath", "file_path", "images",
)  # fmt: skip
TARGET = (
    "label", "labels", "target", "targets", "class", "category", "intent", "sentiment", "topic", "emotion", "emotions",
    "genre", "y", "score", "rating", "stars", "grade", "tag", "tags", "classes", "categories", "label_text", "value",
    "output", "species", "diagnosis", "fine_label", "coarse_label", "polarity", "spam", "similarity",
)  # fmt: skip
GROUP = ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "speaker", "speaker_id")
SPLIT = ("split", "subset", "partition", "set", "fold")
_KNOWN = frozenset((*TEXT, *IMAGE, *TARGET, *GROUP, *SPLIT, "id", "index", *(n for pair in PAIRS for n in pair)))


def plain(name: str) -> str:
    """A name as it is compared: lower case, with underscores."""
    return name.strip().lower().replace(" ", "_").replace("-", "_").replace(".", "_")


def is_known_name(name: str) -> bool:
    """Whether a cell is a word by which columns are called."""
    return plain(name) in _KNOWN
