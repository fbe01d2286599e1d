"""Our judgement of every hostile file's facts is what any JSON Schema validator says about them."""

import pytest
from hostile_corpus import Corpus

from pipeline.errors import SourceError
from pipeline.source import Source
from stages.identify import container_facts
from tests import samples
from tests.plain_schema import assert_same_answer

pytestmark = pytest.mark.xdist_group("hostile")


def test_plain_jsonschema_says_the_same_of_every_file(corpus: Corpus) -> None:
    answers = []
    for name, path in corpus.images.items():
        try:
            with Source.open(corpus.root / "cases" / name / path) as source:
                facts = samples.facts() | {"container": container_facts(source, name=source.name)}
        except SourceError:
            continue  # it could not be opened, so there are no facts
        answers.append(assert_same_answer("rackspace-2020", facts, name))
    assert answers.count(True) >= 5
    assert answers.count(False) > 100
