"""Pretrained networks that losses and metrics look at pictures with: `load_backbone("vgg19").features(x, ["conv5_4"])`."""

from upscale_training.backbones.finding import load_backbone
from upscale_training.backbones.nets import BACKBONES, Backbone, BackboneName, random_backbone

__all__ = ["BACKBONES", "Backbone", "BackboneName", "load_backbone", "random_backbone"]
