"""Text mapper (paper §3.3): the text list of an image becomes text queries. Training only."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..errors import UserError
from ..tasks import CONTEXT_LENGTH
from .layers import MLP


class TextList(NamedTuple):
    """The texts of one image: each of ``texts`` as often as ``counts`` states, then ``filler`` up to the length."""

    texts: Sequence[str]
    counts: Sequence[int]
    filler: str

    def expand(self, length: int) -> list[str]:
        """Return the full list of the paper; a list that is too long is truncated."""
        repeated = [text for text, count in zip(self.texts, self.counts, strict=True) for _ in range(count)]
        return (repeated + [self.filler] * length)[:length]


@lru_cache(maxsize=4096)
def tokenize(text: str) -> tuple[int, ...]:
    """CLIP's byte-pair token ids of a text, start and end included, cut to 77."""
    import open_clip  # here, since it takes seconds to load and only training needs it

    ids = open_clip.tokenize([text], context_length=CONTEXT_LENGTH)[0].tolist()
    return tuple(ids[: ids.index(max(ids)) + 1])


@MODELS.register_module()
class TextMapper(BaseModule):
    """CLIP's text encoder, trained from scratch, a projector, and learned context vectors after the texts.

    Only the batch's unique strings are encoded, cut to the longest: with a causal mask and the result read at the end
    token this equals encoding every slot at full length, at about a fortieth of the work.

    Args:
        num_queries: N; N - num_context texts per image are used.
        channels: C.
        num_context: N_ctx learned vectors that follow the texts (paper, Table 4).
        width: of the encoder, a multiple of 64 (its heads are 64 wide).
    """

    def __init__(
        self,
        num_queries: int,
        channels: int = 256,
        num_context: int = 16,
        width: int = 256,
        num_layers: int = 6,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not 0 <= num_context < num_queries:
            raise UserError(
                f'text_mapper.num_context must be 0 to num_queries - 1 = {num_queries - 1}, not {num_context}'
            )
        from open_clip.transformer import QuickGELU, TextTransformer

        self.num_texts = num_queries - num_context
        self.encoder = TextTransformer(
            context_length=CONTEXT_LENGTH,
            width=width,
            heads=max(width // 64, 1),
            layers=num_layers,
            act_layer=QuickGELU,
            proj_type='none',
            output_dim=None,
        )
        self.projector = MLP(width, channels, channels, num_layers=2)
        self.context = nn.Embedding(num_context, channels) if num_context else None

    def forward(self, texts: Sequence[TextList]) -> Tensor:
        """Return the text queries (B, N, C) of B images."""
        lists = [image.expand(self.num_texts) for image in texts]
        unique = {text: i for i, text in enumerate(dict.fromkeys(text for image in lists for text in image))}
        index = torch.tensor([[unique[text] for text in image] for image in lists])
        encoded = self.projector(self.encode(list(unique)))
        queries = encoded[index.to(encoded.device, non_blocking=True)]
        if self.context is None:
            return queries
        return torch.cat((queries, self.context.weight.to(queries.dtype).expand(len(queries), -1, -1)), dim=1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode strings, cut to the longest of them: (len(texts), width)."""
        encoder = self.encoder
        tokens = [torch.tensor(tokenize(text)) for text in texts]
        ids = nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(
            encoder.token_embedding.weight.device, non_blocking=True
        )
        length = ids.shape[1]
        x = encoder.token_embedding(ids) + encoder.positional_embedding[:length]
        x = encoder.ln_final(encoder.transformer(x, attn_mask=encoder.attn_mask[:length, :length]))
        return x[torch.arange(len(ids), device=x.device), ids.argmax(dim=1)]
