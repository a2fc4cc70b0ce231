# SPDX-License-Identifier: GPL-3.0-or-later
"""Kokoro's network in plain torch, for a machine that has torch but not the package kokoro.

Layers, sizes and names of the parameters are those of the shipped kokoro (Apache-2.0), so published weights load. It
speaks one text at a time, as Xinference does, so it needs no masks.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import weight_norm

Json = dict[str, Any]
EMBEDDING = 128
STYLE = 128


def _lstm(inputs: int, outputs: int) -> nn.LSTM:
    return nn.LSTM(inputs, outputs // 2, 1, batch_first=True, bidirectional=True)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.dense = (nn.Linear(width, width) for _each in range(4))
        self.LayerNorm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Any) -> Any:
        split = [
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]
        mixed = functional.scaled_dot_product_attention(*split)
        return self.LayerNorm(x + self.dense(mixed.transpose(1, 2).flatten(2)))


class AlbertLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.full_layer_layer_norm = nn.LayerNorm(width, eps=1e-12)
        self.attention = Attention(width, heads)
        self.ffn, self.ffn_output = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Any) -> Any:
        x = self.attention(x)
        hidden = functional.gelu(self.ffn(x), approximate="tanh")
        return self.full_layer_layer_norm(x + self.ffn_output(hidden))


class Albert(nn.Module):
    """One layer that is applied many times."""

    def __init__(self, symbols: int, plbert: Json) -> None:
        super().__init__()
        width, length = plbert["hidden_size"], plbert["max_position_embeddings"]
        self.times = plbert["num_hidden_layers"]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(symbols, EMBEDDING),
                "position_embeddings": nn.Embedding(length, EMBEDDING),
                "token_type_embeddings": nn.Embedding(2, EMBEDDING),
                "LayerNorm": nn.LayerNorm(EMBEDDING, eps=1e-12),
            }
        )
        layer = AlbertLayer(width, plbert["num_attention_heads"], plbert["intermediate_size"])
        group = nn.ModuleDict({"albert_layers": nn.ModuleList([layer])})
        self.encoder = nn.ModuleDict(
            {
                "embedding_hidden_mapping_in": nn.Linear(EMBEDDING, width),
                "albert_layer_groups": nn.ModuleList([group]),
            }
        )
        self.pooler = nn.Linear(width, width)
        self.layer = [layer]

    def forward(self, tokens: Any) -> Any:
        parts = self.embeddings
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = parts["word_embeddings"](tokens) + parts["position_embeddings"](places)
        x = x + parts["token_type_embeddings"](torch.zeros_like(tokens))
        x = self.encoder["embedding_hidden_mapping_in"](parts["LayerNorm"](x))
        for _each in range(self.times):
            x = self.layer[0](x)
        return x


class ChannelNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Any) -> Any:
        return functional.layer_norm(x.transpose(1, 2), self.gamma.shape, self.gamma, self.beta, 1e-5).transpose(1, 2)


class TextEncoder(nn.Module):
    def __init__(self, channels: int, kernel: int, depth: int, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, channels)
        self.cnn = nn.ModuleList(
            nn.Sequential(
                weight_norm(nn.Conv1d(channels, channels, kernel, padding=kernel // 2)),
                ChannelNorm(channels),
                nn.LeakyReLU(0.2),
            )
            for _each in range(depth)
        )
        self.lstm = _lstm(channels, channels)

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens).transpose(1, 2)
        for block in self.cnn:
            x = block(x)
        return self.lstm(x.transpose(1, 2))[0].transpose(1, 2)


class StyledNorm(nn.Module):
    """A norm over each phoneme's channels. The style sets scale and offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.fc = channels, nn.Linear(STYLE, channels * 2)

    def forward(self, x: Any, style: Any) -> Any:
        gamma, beta = self.fc(style).unsqueeze(1).chunk(2, dim=2)
        return (1 + gamma) * functional.layer_norm(x, (self.channels,), eps=1e-5) + beta


class Adain(nn.Module):
    """A norm over time. The style sets scale and offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.fc = nn.InstanceNorm1d(channels, affine=True), nn.Linear(STYLE, channels * 2)

    def forward(self, x: Any, style: Any) -> Any:
        gamma, beta = self.fc(style).unsqueeze(2).chunk(2, dim=1)
        return (1 + gamma) * self.norm(x) + beta


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, upsample: bool = False) -> None:
        super().__init__()
        self.upsample = upsample
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, 3, 1, 1))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, 3, 1, 1))
        self.norm1, self.norm2 = Adain(inputs), Adain(outputs)
        self.pool = (
            weight_norm(nn.ConvTranspose1d(inputs, inputs, 3, 2, groups=inputs, padding=1, output_padding=1))
            if upsample
            else nn.Identity()
        )
        self.learned = inputs != outputs
        if self.learned:
            self.conv1x1 = weight_norm(nn.Conv1d(inputs, outputs, 1, bias=False))

    def forward(self, x: Any, style: Any) -> Any:
        new = self.conv1(self.pool(functional.leaky_relu(self.norm1(x, style), 0.2)))
        new = self.conv2(functional.leaky_relu(self.norm2(new, style), 0.2))
        old = functional.interpolate(x, scale_factor=2, mode="nearest") if self.upsample else x
        return (new + (self.conv1x1(old) if self.learned else old)) * math.sqrt(0.5)


def _curve(width: int) -> nn.ModuleList:
    return nn.ModuleList([Block(width, width), Block(width, width // 2, True), Block(width // 2, width // 2)])


class Predictor(nn.Module):
    """How long each phoneme lasts, its pitch and its energy."""

    def __init__(self, width: int, layers: int, longest: int) -> None:
        super().__init__()
        self.text_encoder = nn.ModuleDict(
            {
                "lstms": nn.ModuleList(
                    m for _each in range(layers) for m in (_lstm(width + STYLE, width), StyledNorm(width))
                )
            }
        )
        self.lstm, self.shared = _lstm(width + STYLE, width), _lstm(width + STYLE, width)
        self.duration_proj = nn.ModuleDict({"linear_layer": nn.Linear(width, longest)})
        self.F0, self.N = _curve(width), _curve(width)
        self.F0_proj, self.N_proj = nn.Conv1d(width // 2, 1, 1), nn.Conv1d(width // 2, 1, 1)

    def encode(self, x: Any, style: Any) -> Any:
        wide = style.unsqueeze(1).expand(1, x.shape[1], -1)
        x = torch.cat([x, wide], dim=2)
        layers = self.text_encoder["lstms"]
        for lstm, norm in zip(layers[::2], layers[1::2], strict=True):
            x = torch.cat([norm(lstm(x)[0], style), wide], dim=2)
        return x

    def durations(self, x: Any) -> Any:
        frames = torch.sigmoid(self.duration_proj["linear_layer"](self.lstm(x)[0])).sum(dim=-1)
        return torch.round(frames).clamp(min=1).long()[0]

    def curves(self, x: Any, style: Any) -> list[Any]:
        shared = self.shared(x)[0].transpose(1, 2)
        found = []
        for blocks, last in ((self.F0, self.F0_proj), (self.N, self.N_proj)):
            curve = shared
            for block in blocks:
                curve = block(curve, style)
            found.append(last(curve).squeeze(1))
        return found


class Resblock(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()

        def convolution(dilation: int) -> nn.Module:
            return weight_norm(
                nn.Conv1d(channels, channels, kernel, 1, dilation=dilation, padding=(kernel - 1) * dilation // 2)
            )

        def ones() -> nn.ParameterList:
            return nn.ParameterList(nn.Parameter(torch.ones(1, channels, 1)) for _each in dilations)

        self.convs1 = nn.ModuleList(convolution(dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(convolution(1) for _each in dilations)
        self.adain1, self.adain2 = (nn.ModuleList(Adain(channels) for _each in dilations) for _each in range(2))
        self.alpha1, self.alpha2 = ones(), ones()

    def forward(self, x: Any, style: Any) -> Any:
        first, second = (self.adain1, self.alpha1, self.convs1), (self.adain2, self.alpha2, self.convs2)
        for i in range(len(self.convs1)):
            new = x
            for norms, alphas, convolutions in (first, second):
                new = norms[i](new, style)
                new = convolutions[i](new + (1 / alphas[i]) * torch.sin(alphas[i] * new) ** 2)
            x = new + x
        return x


class Generator(nn.Module):
    """From features to audio: two steps of upsampling and an inverse Fourier transform."""

    def __init__(self, c: Json) -> None:
        super().__init__()
        rates, self.fft, self.hop = c["upsample_rates"], c["gen_istft_n_fft"], c["gen_istft_hop_size"]
        first, self.kernels = c["upsample_initial_channel"], len(c["resblock_kernel_sizes"])
        self.scale = math.prod(rates) * self.hop
        self.m_source = nn.ModuleDict({"l_linear": nn.Linear(9, 1)})
        self.noise_convs, self.noise_res, self.ups, self.resblocks = (nn.ModuleList() for _each in range(4))
        for i, (rate, kernel) in enumerate(zip(rates, c["upsample_kernel_sizes"], strict=True)):
            channels, left = first // 2 ** (i + 1), math.prod(rates[i + 1 :])
            self.ups.append(
                weight_norm(nn.ConvTranspose1d(channels * 2, channels, kernel, rate, padding=(kernel - rate) // 2))
            )
            for size, dilations in zip(c["resblock_kernel_sizes"], c["resblock_dilation_sizes"], strict=True):
                self.resblocks.append(Resblock(channels, size, dilations))
            last = i + 1 == len(rates)
            shape = {} if last else {"stride": left, "padding": (left + 1) // 2}
            self.noise_convs.append(nn.Conv1d(self.fft + 2, channels, 1 if last else left * 2, **shape))
            self.noise_res.append(Resblock(channels, 11 if last else 7, [1, 3, 5]))
        self.conv_post = weight_norm(nn.Conv1d(channels, self.fft + 2, 7, padding=3))

    def source(self, f0: Any) -> Any:
        """Sines of the pitch and its harmonics, and noise where there is no voice."""
        f0 = functional.interpolate(f0[:, None], scale_factor=float(self.scale)).transpose(1, 2)
        turns = (f0 * torch.arange(1, 10, device=f0.device)) / 24000 % 1
        turns = functional.interpolate(turns.transpose(1, 2), scale_factor=1 / self.scale, mode="linear")
        phase = torch.cumsum(turns, dim=2) * 2 * math.pi * self.scale
        sines = torch.sin(functional.interpolate(phase, scale_factor=float(self.scale), mode="linear")).transpose(1, 2)
        voiced = (f0 > 10).float()
        noise = (voiced * 0.003 + (1 - voiced) * 0.1 / 3) * torch.randn_like(sines)
        return torch.tanh(self.m_source["l_linear"](sines * 0.1 * voiced + noise)).squeeze(2)

    def forward(self, x: Any, style: Any, f0: Any) -> Any:
        window = torch.hann_window(self.fft, device=x.device)
        wave = torch.stft(self.source(f0), self.fft, self.hop, self.fft, window, return_complex=True)
        harmonics = torch.cat([wave.abs(), wave.angle()], dim=1)
        for i, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, 0.1))
            if i == len(self.ups) - 1:
                x = functional.pad(x, (1, 0), mode="reflect")
            x = x + self.noise_res[i](self.noise_convs[i](harmonics), style)
            blocks = self.resblocks[i * self.kernels : (i + 1) * self.kernels]
            x = sum(block(x, style) for block in blocks) / self.kernels
        x = self.conv_post(functional.leaky_relu(x))
        half = self.fft // 2 + 1
        spectrum = torch.exp(x[:, :half]) * torch.exp(torch.sin(x[:, half:]) * 1j)
        return torch.istft(spectrum, self.fft, self.hop, self.fft, window)


class Decoder(nn.Module):
    def __init__(self, width: int, generator: Json) -> None:
        super().__init__()
        self.encode = Block(width + 2, 1024)
        self.decode = nn.ModuleList(
            [*(Block(1024 + 2 + 64, 1024) for _each in range(3)), Block(1024 + 2 + 64, 512, True)]
        )
        self.F0_conv, self.N_conv = (weight_norm(nn.Conv1d(1, 1, 3, 2, padding=1)) for _each in range(2))
        self.asr_res = nn.Sequential(weight_norm(nn.Conv1d(512, 64, 1)))
        self.generator = Generator(generator)

    def forward(self, features: Any, f0: Any, energy: Any, style: Any) -> Any:
        curves = [self.F0_conv(f0.unsqueeze(1)), self.N_conv(energy.unsqueeze(1))]
        x, rest = self.encode(torch.cat([features, *curves], dim=1), style), self.asr_res(features)
        for block in self.decode:
            x = block(torch.cat([x, rest, *curves], dim=1), style)
        return self.generator(x, style, f0)


class Kokoro(nn.Module):
    """The whole network, with the interface of kokoro's KModel that the measurements use."""

    def __init__(self, config: Json) -> None:
        super().__init__()
        width = config["hidden_dim"]
        self.bert = Albert(config["n_token"], config["plbert"])
        self.bert_encoder = nn.Linear(config["plbert"]["hidden_size"], width)
        self.predictor = Predictor(width, config["n_layer"], config["max_dur"])
        self.text_encoder = TextEncoder(width, config["text_encoder_kernel_size"], config["n_layer"], config["n_token"])
        self.decoder = Decoder(width, config["istftnet"])

    @torch.no_grad()
    def forward_with_tokens(self, tokens: Any, style: Any, speed: float = 1) -> tuple[Any, Any]:
        """Return the audio, and the frames of each phoneme."""
        manner, timbre = style[:, STYLE:], style[:, :STYLE]
        known = self.predictor.encode(self.bert_encoder(self.bert(tokens)), manner)
        frames = self.predictor.durations(known)
        f0, energy = self.predictor.curves(known.repeat_interleave(frames, dim=1), manner)
        features = self.text_encoder(tokens).repeat_interleave(frames, dim=2)
        return self.decoder(features, f0, energy, timbre).squeeze(), frames
