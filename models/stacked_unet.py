"""The Stacked U-Net: two U-Nets in series, called once (InstaFlow-1.7B; paper, section 4.2).

A folder that holds one names this module: whoever has imported it opens the folder with stock diffusers.
"""

import functools
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from torch import nn

__all__ = ["ModelMixin", "StackedUNet"]  # diffusers looks up beside a component's class how such a class is loaded


class StackedUNet(UNet2DConditionModel):  # type: ignore[misc] # diffusers is not typed
    """A ``UNet2DConditionModel`` whose input are the features of another one, ``first``, instead of the latent's.

    The output block of the first (norm, activation, convolution) and the input convolution of the second are dropped.
    It takes what a U-Net takes and has a U-Net's config: pipelines and adapters treat it as one.
    """

    # By the arguments of a U-Net, which diffusers reads the config by.
    @functools.wraps(UNet2DConditionModel.__init__)  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.first = UNet2DConditionModel(*args, **kwargs)
        self.first.conv_norm_out, self.first.conv_out, self.conv_in = None, nn.Identity(), nn.Identity()

    @classmethod
    def of(cls, unet: UNet2DConditionModel) -> "StackedUNet":
        """Two copies of a U-Net in series, in its dtype and on its device, that compute what it computes.

        The first begins by handing on what its input convolution made: the last block's shortcut takes that alone, and
        what the block adds to it starts at zero. All else is the U-Net's, twice, and is trained from there.
        """
        with torch.device("meta"):
            stacked = cls(**unet.config)
        source = unet.state_dict()
        taken = {name: source[name.removeprefix("first.")].clone() for name in stacked.state_dict()}
        stacked.load_state_dict(taken, assign=True)
        _hand_on_the_input(stacked.first)
        return stacked.eval()

    def forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **more: Any) -> Any:
        """One call: the arguments are a U-Net's. What a ControlNet adds, it adds to the second."""
        added = {"down_block_additional_residuals", "mid_block_additional_residual", "return_dict"}
        told = {name: value for name, value in more.items() if name not in added}
        features = self.first(sample, timestep, encoder_hidden_states, return_dict=False, **told)[0]
        return super().forward(features, timestep, encoder_hidden_states, **more)


@torch.no_grad()
def _hand_on_the_input(unet: UNet2DConditionModel) -> None:
    """Have the last block give back what it skips over: the output of `conv_in`, the last of its input's channels."""
    block = unet.up_blocks[-1]
    last = block.resnets[-1]
    kept = unet.config.block_out_channels[0]
    for part in (last.conv_shortcut, last.conv2, *(one.proj_out for one in getattr(block, "attentions", ())[-1:])):
        part.weight.zero_()
        part.bias.zero_()
    last.conv_shortcut.weight[:, -kept:, 0, 0] = torch.eye(kept).to(last.conv_shortcut.weight)
