import pickle

from vqgen.config import DataConfig
from vqgen.data import Reading

FOLDER = {"source": "folder", "image_size": 8}


def test_rules_are_those_of_the_recipe():
    data = DataConfig(**FOLDER, reading_rules=1, value_range=(0, 4095), measured_range=(-1, 2.5))
    assert Reading.of(data) == Reading(1, (0, 4095), (-1, 2.5))
    assert Reading.of(DataConfig(**FOLDER)) == Reading()


def test_rules_can_be_pickled():
    reading = Reading(value_range=(0.0, 2.0))
    assert pickle.loads(pickle.dumps(reading)) == reading
