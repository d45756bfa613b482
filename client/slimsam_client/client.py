"""`SlimSam`, the synchronous client: image and prompts in, masks out, over one gRPC channel."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TypeVar, overload

from numpy.typing import ArrayLike

from slimsam_client import operations
from slimsam_client.calls import Operation
from slimsam_client.clicks.upload import upload
from slimsam_client.contract import AUTOMATIC, CLICK, IMAGE
from slimsam_client.everything import GenerateSettings, MaskRecord, Progress
from slimsam_client.image.load import Images, ImageSource
from slimsam_client.many import embed_each, joined, segment_each, upload_each
from slimsam_client.parity.model_info import ModelInfo, ServedParity, measure_parity, request_info
from slimsam_client.results import Embedding, MaskKind, Prediction, UploadedImage
from slimsam_client.settings import ClientSettings, ConfiguredClient, client_settings
from slimsam_client.transport.connection import Connection
from slimsam_client.transport.interruption import Interruption
from slimsam_client.transport.options import Headers, RequestOptions, checked_seconds
from slimsam_client.transport.threads import side_by_side
from slimsam_client.transport.tls import Tls
from slimsam_client.transport.tracing import operation_span

T = TypeVar("T")


class SlimSam(ConfiguredClient):
    """Segments images on a Triton server that serves the SlimSAM model repository.

    It is safe to share between threads. Use it as a context manager, or call `close`.

    A request that finds the server away is sent again, after pauses that grow to two seconds, for
    as long as its timeout allows: it outlasts a restart. A client that never had an answer reports
    at once that nothing answers; `wait_until_ready` waits for a server that is yet to start.

    Args:
        url: host:port of the server's gRPC service.
        timeout: seconds that one request may take; queueing, transport and retries included.
            `generate` on the server has a longer one of its own.
        tls: True for TLS with gRPC's root certificates, or `Tls` with files, for mutual TLS too.
        headers: gRPC metadata of every request, such as `{"authorization": "Bearer ..."}`; or a
            function that gives it, which is called for every attempt and must not take long.
        concurrency: how many images of a list are under way at once.
        shared_memory: True moves images, embeddings and masks through shared memory instead of
            gRPC, which needs a server on this host that allows it.
        ssl: the former name of `tls`.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        url: str = "localhost:8001",
        timeout: float = 30.0,
        *,
        tls: bool | Tls = False,
        headers: Headers | None = None,
        concurrency: int = 8,
        shared_memory: bool = False,
        ssl: bool | Tls | None = None,
    ) -> None:
        self._connect(client_settings(url, timeout, tls, headers, concurrency, shared_memory, ssl))

    def _connect(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._connection = Connection(settings.url, settings.tls, settings.regions())

    def __enter__(self) -> SlimSam:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channel."""
        self.close()

    def close(self) -> None:
        """Close the channel; requests in flight fail."""
        self._connection.close(self._options)

    def ready(self) -> bool:
        """Whether a server says that it serves all models, within the timeout or 5 s."""
        session = self._connection.session
        return self._connection.run(session.missing(self._options.timeout), self._options) is None

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait for a server that serves all models.

        Args:
            timeout: seconds to wait; 0 looks once. The last look has a second, whatever is left.

        Raises:
            ServerUnavailableError: nothing answered until then.
            ModelNotReadyError: a server answered, but a model was not ready.
            AccessDeniedError: the server wants other headers.
        """
        seconds = checked_seconds(timeout, or_zero=True)
        waiting = self._connection.session.wait_until_ready(seconds)
        self._connection.run(waiting, self._options)

    def model_info(self) -> ModelInfo:
        """Ask what is served: checkpoint, digest, target, precision and limits.

        Raises:
            ModelNotReadyError: the server does without slimsam_info.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        return self._run(request_info())

    def measure_parity(self) -> ServedParity:
        """Compare the running server with the answer that the build kept, by two requests.

        Returns:
            What is served, and how far its answers are from `SamModel`'s.

        Raises:
            ModelNotReadyError: the server does without slimsam_info.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        return self._run(measure_parity())

    @overload
    def embed(self, image: ImageSource) -> Embedding: ...

    @overload
    def embed(self, image: Images) -> list[Embedding]: ...

    def embed(self, image: ImageSource | Images) -> Embedding | list[Embedding]:
        """Encode an image, once for any number of `predict` calls.

        Args:
            image: a path, encoded bytes, a binary file, a PIL image, or a uint8 array (H, W),
                (H, W, 3) RGB or (H, W, 4) RGBA; use `load_image` for its `max_pixels`. Or a list
                of images, which are sent side by side.

        Returns:
            The embedding; for a list of images a list, in their order.

        Raises:
            ImageError: the image cannot be read or used.
            BatchError: images of a list failed; it carries the others' results.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        if isinstance(image, list | tuple):
            return self._run_many(embed_each(image))
        return self._run(operations.embed(image))

    @overload
    def upload(self, image: ImageSource) -> UploadedImage | Embedding: ...

    @overload
    def upload(self, image: Images) -> list[UploadedImage] | list[Embedding]: ...

    def upload(
        self, image: ImageSource | Images
    ) -> UploadedImage | Embedding | list[UploadedImage] | list[Embedding]:
        """Have the server keep an image, for any number of small requests by `predict`.

        Each then has some hundred bytes, in place of the 2 MiB of an embedding, and masks come as
        RLEs. An image that is not kept any more is sent again without a word.

        Args:
            image: as for `embed`. A JPEG, PNG or WebP travels as it is, anything else as PNG. What
                is above the server's limits is reduced to the encoder's frame, for the same masks.

        Returns:
            The image; for a list of images a list, in their order. Where the server does without
            slimsam_image and slimsam_click, what `embed` returns.

        Raises:
            ImageError: the image cannot be read or used.
            BatchError: images of a list failed; it carries the others' results.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        session = self._connection.session
        asking = session.serves(self._options, IMAGE, CLICK)
        if not self._connection.run(asking, self._options):
            return self.embed(image)
        if isinstance(image, list | tuple):
            return self._run_many(upload_each(image))
        return self._run(upload(image))

    def predict(
        self,
        embedding: Embedding | UploadedImage,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
        keep_masks: bool = True,
    ) -> Prediction:
        """Segment an encoded image.

        Args:
            embedding: what `embed` or `upload` returned.
            points: (N, 2), or (P, N, 2) for P prompts, or a list of P arrays (N_i, 2), of which
                some may be empty where there are boxes; (x, y) in pixels of the original image.
                Less than a pixel outside of it is clipped. P may be 0, also as [], and so are the
                masks then.
            labels: (N,), (P, N), or a list of P arrays (N_i,); 1 foreground, 0 background; all
                foreground if not given.
            box: (4,), or (P, 4) for P prompts; x0, y0, x1, y1 in pixels of the original image,
                clipped likewise. P may be 0.
            mask_input: (256, 256), an earlier answer's best_logits for one prompt; or, of an
                uploaded image, its best_mask_ids. All P prompts use it; to refine several masks,
                call once for each.
            multimask_output: three candidates per prompt, for ambiguous prompts such as one
                click; or one mask.
            masks: "all" keeps all masks; "best" those of the highest scores, with their scores
                and logits; "rle" the same as COCO's compressed RLE, in the prediction's `rles`;
                None keeps all scores and logits alone.
            keep_masks: whether the server keeps the masks of an uploaded image, to be refined by
                their mask_ids; each makes an older one go. False is for previews, and nothing
                is kept of an embedding's.

        Returns:
            The prediction. It takes 262,144 bytes for each of P * M logits, and H * W for each
            of P * M masks, where masks are kept; M is 1 with "best" and "rle". Of an uploaded image
            it has mask_ids in place of logits, which only `masks=None` brings.

        Raises:
            PromptError: a prompt is not of these shapes or values, or there is none. The message
                names it by its index.
            SettingsError: `multimask_output`, `masks` or `keep_masks` is none of these.
            NotKeptError: the mask of a mask_id is not kept any more: send its prompt again. Or a
                prompt of several requests met several checkpoints: ask again.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        return self._run(
            operations.predict(
                embedding, points, labels, box, mask_input, multimask_output, masks, keep_masks
            )
        )

    @overload
    def segment(
        self,
        image: ImageSource,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
    ) -> Prediction: ...

    @overload
    def segment(
        self,
        image: Images,
        points: list[Any] | tuple[Any, ...] | None = None,
        labels: list[Any] | tuple[Any, ...] | None = None,
        box: list[Any] | tuple[Any, ...] | None = None,
        mask_input: list[Any] | tuple[Any, ...] | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
    ) -> list[Prediction]: ...

    def segment(
        self,
        image: ImageSource | Images,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        *,
        masks: MaskKind = "all",
    ) -> Prediction | list[Prediction]:
        """Encode and segment an image within one timeout, and keep nothing.

        With more prompts than one request holds, further requests follow, each with a timeout of
        its own; without any, nothing is sent.

        Args:
            image: as for `embed`; or a list of images, with a list of each kind of prompts.
            points: as for `predict`, like the rest.
            labels: as for `predict`.
            box: as for `predict`.
            mask_input: as for `predict`.
            multimask_output: as for `predict`; the same for all images.
            masks: as for `predict`; the same for all images.

        Returns:
            The prediction; for a list of images a list, in their order.

        Raises:
            ImageError: the image cannot be read or used.
            PromptError: a prompt is not of these shapes or values, or there is none.
            SettingsError: `multimask_output` or `masks` is none of these.
            BatchError: images of a list failed; it carries the others' results.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        prompts = (points, labels, box, mask_input)
        if isinstance(image, list | tuple):
            return self._run_many(segment_each(image, *prompts, multimask_output, masks))
        return self._run(operations.segment(image, *prompts, multimask_output, masks))

    def generate(
        self,
        image: ImageSource | UploadedImage,
        settings: GenerateSettings | None = None,
        progress: Progress | None = None,
        on_server: bool | None = None,
        timeout: float | None = None,
    ) -> list[MaskRecord]:
        """Segment everything in an image.

        Args:
            image: as for `embed`; or what `upload` returned.
            settings: settings of everything mode; SAM's defaults if not given.
            progress: called with (requests done, requests in all); on the server, once at the end.
            on_server: True runs it in the server's model slimsam_automatic, in one round trip;
                False here, with a request per 16 points; None on the server if the model is there.
            timeout: seconds that one request may take. If not given, the one request to the
                server's model has 300, or the client's own timeout if that is longer; the
                requests of everything mode in the client have the client's.

        Returns:
            A record for each mask, in SAM's order.

        Raises:
            ImageError: the image cannot be read or used.
            SlimSamError: the server failed; see `slimsam_client.errors`.
        """
        if on_server is None:
            asking = self._connection.session.serves(self._options, AUTOMATIC)
            on_server = self._connection.run(asking, self._options)
        options = self._options.for_generate(timeout, on_server)
        return self._run(operations.generate(image, settings, progress, on_server), options)

    def _run(
        self,
        steps: Operation[T],
        options: RequestOptions | None = None,
        interruption: Interruption | None = None,
    ) -> T:
        options = options or self._options
        session = self._connection.session
        with operation_span(steps, session.url, options.request_id):
            return self._connection.run(session.run(steps, options), options, interruption)

    def _run_many(self, operations_: Sequence[Operation[T]]) -> list[T]:
        interruption = Interruption()
        run = functools.partial(self._run, interruption=interruption)
        return joined(side_by_side(run, operations_, self.concurrency, interruption.cancel))
