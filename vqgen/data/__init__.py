"""Images and their codes: sources, splits, reading, transforms, labels, and the order of training."""

from vqgen.data.code_shards import ShardContent, write_shard
from vqgen.data.code_store import SHARD_SIZE, CodeStore, StoreInfo, finish_store, write_store
from vqgen.data.counting import ImageCounts, count_images
from vqgen.data.exclusions import read_exclusions, write_exclusions
from vqgen.data.finding import find_files, find_images, search_files, search_images
from vqgen.data.image_set import ArrayReader, FileReader, ImageSet, ImageSplits
from vqgen.data.label_map import Label, LabelMap
from vqgen.data.loading import ImageBatch, ImageBatches, evaluation_batches, training_batches
from vqgen.data.pictures import Reading
from vqgen.data.pixels import image_pixels, model_pixels, to_float, to_pil, to_tensor, to_uint8
from vqgen.data.readable import check_readable
from vqgen.data.reading import normalize_mode, read_image
from vqgen.data.sources import open_images
from vqgen.data.training_order import TrainingOrder
from vqgen.data.transforms import evaluation_transform, training_transform
from vqgen.data.unread import IMAGE_SUFFIXES, image_suffixes

__all__ = [
    "IMAGE_SUFFIXES",
    "SHARD_SIZE",
    "ArrayReader",
    "CodeStore",
    "FileReader",
    "ImageBatch",
    "ImageBatches",
    "ImageCounts",
    "ImageSet",
    "ImageSplits",
    "Label",
    "LabelMap",
    "Reading",
    "ShardContent",
    "StoreInfo",
    "TrainingOrder",
    "check_readable",
    "count_images",
    "evaluation_batches",
    "evaluation_transform",
    "find_files",
    "find_images",
    "finish_store",
    "image_pixels",
    "image_suffixes",
    "model_pixels",
    "normalize_mode",
    "open_images",
    "read_exclusions",
    "read_image",
    "search_files",
    "search_images",
    "to_float",
    "to_pil",
    "to_tensor",
    "to_uint8",
    "training_batches",
    "training_transform",
    "write_exclusions",
    "write_shard",
    "write_store",
]
