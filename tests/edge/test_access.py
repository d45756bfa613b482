"""Who may call through the edge, and what; before a real server."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
from envoy_edge import Authorities, Edge
from skimage import data
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from slimsam_client import AccessDeniedError, GenerateSettings, ServerUnavailableError, SlimSam, Tls
from slimsam_client.contract import ENSEMBLE
from slimsam_client.operations import segment_in_one_call
from slimsam_server import EmbeddedServer

CLICK: dict[str, Any] = {"points": [(300, 200)]}


def test_what_the_client_does_goes_through(
    real: Edge, authorities: Authorities, demo_server: EmbeddedServer, connect: Any
) -> None:
    picture = data.coffee()
    # Each kind of client is a subject of its own, with a share of its own.
    sam = connect(real.url, 120, tls=authorities.tls, headers=authorities.headers(str(connect)))
    sam.wait_until_ready(60)
    through = sam.segment(picture, **CLICK)
    with SlimSam(demo_server.grpc_url, 120) as direct:
        expected = direct.segment(picture, **CLICK)
    assert np.array_equal(through.masks, expected.masks)
    assert through.masks.any()
    settings = GenerateSettings(points_per_side=1)
    assert sam.generate(picture, settings, on_server=True) is not None
    assert sam.model_info() is not None


def test_a_client_without_a_certificate_that_is_known(
    real: Edge, authorities: Authorities, connect: Any
) -> None:
    root, stranger = authorities.root, authorities.stranger
    for tls in (Tls(root), Tls(root, stranger, stranger)):
        sam = connect(real.url, 60, tls=tls, headers=authorities.headers("ann"))
        with pytest.raises(ServerUnavailableError, match="a client's certificate"):
            sam.segment(data.coffee(), **CLICK)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": 1}, "Jwt is expired"),
        ({"exp": None}, "Jwt"),
        ({"aud": "another"}, "Audiences in Jwt are not allowed"),
        ({"iss": "https://another.example.com"}, "Jwt issuer is not configured"),
        ({"sub": None}, "Jwt"),
        ({"nbf": 2**32}, "Jwt not yet valid"),
        (None, "Jwt is missing"),
    ],
    ids=["expired", "for ever", "audience", "issuer", "subject", "later", "none"],
)
def test_a_token_that_does_not_count(
    claims: dict[str, Any] | None, message: str, real: Edge, authorities: Authorities
) -> None:
    headers = {} if claims is None else authorities.headers("ann", **claims)
    with SlimSam(real.url, 60, tls=authorities.tls, headers=headers) as sam:
        with pytest.raises(AccessDeniedError, match=message):
            sam.segment(data.coffee(), **CLICK)


def test_a_token_of_another_key(
    real: Edge, authorities: Authorities, tmp_path_factory: pytest.TempPathFactory
) -> None:
    others = Authorities(tmp_path_factory.mktemp("others"))
    with SlimSam(real.url, 60, tls=authorities.tls, headers=others.headers("ann")) as sam:
        with pytest.raises(AccessDeniedError, match="Jwt verification fails"):
            sam.segment(data.coffee(), **CLICK)


CLOSED = {
    "RepositoryIndex": messages.RepositoryIndexRequest(),
    "RepositoryModelLoad": messages.RepositoryModelLoadRequest(model_name="slimsam"),
    "RepositoryModelUnload": messages.RepositoryModelUnloadRequest(model_name="slimsam"),
    "SystemSharedMemoryStatus": messages.SystemSharedMemoryStatusRequest(),
    "SystemSharedMemoryRegister": messages.SystemSharedMemoryRegisterRequest(name="a", key="/a"),
    "SystemSharedMemoryUnregister": messages.SystemSharedMemoryUnregisterRequest(),
    "CudaSharedMemoryStatus": messages.CudaSharedMemoryStatusRequest(),
    "TraceSetting": messages.TraceSettingRequest(),
    "LogSettings": messages.LogSettingsRequest(),
    "ModelStatistics": messages.ModelStatisticsRequest(),
    "ModelConfig": messages.ModelConfigRequest(name="slimsam"),
}


def test_no_other_method_is_let_through(real: Edge, authorities: Authorities) -> None:
    credentials = grpc.ssl_channel_credentials(
        authorities.root.read_bytes(), *2 * (authorities.client.read_bytes(),)
    )
    headers = {**authorities.headers("eve"), "triton-grpc-protocol-admin-key": "secret"}
    metadata = tuple(headers.items())
    with grpc.secure_channel(real.url, credentials) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerLive(messages.ServerLiveRequest(), metadata=metadata, timeout=60).live
        for name, request in CLOSED.items():
            with pytest.raises(grpc.RpcError) as error:
                getattr(stub, name)(request, metadata=metadata, timeout=60)
            assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED, name
            assert error.value.details() == "RBAC: access denied", name
        stream = stub.ModelStreamInfer(
            iter([messages.ModelInferRequest()]), metadata=metadata, timeout=60
        )
        with pytest.raises(grpc.RpcError, match="RBAC: access denied"):
            next(stream)


def test_the_ensemble_is_not_offered(real: Edge, authorities: Authorities) -> None:
    headers = authorities.headers("ann")
    with SlimSam(real.url, 60, tls=authorities.tls, headers=headers) as sam:
        assert sam.segment(data.coffee(), **CLICK).masks.any()
        with pytest.raises(AccessDeniedError, match="expected a model that is offered here"):
            sam._run(segment_in_one_call(data.coffee(), **CLICK))
    assert ENSEMBLE.name == "slimsam"


def test_the_log_says_who_called(real: Edge, authorities: Authorities) -> None:
    with SlimSam(real.url, 60, tls=authorities.tls, headers=authorities.headers("bob")) as sam:
        sam.model_info()
    entry = next(each for each in real.logged("ModelInfer") if each["subject"] == "bob")
    assert entry["status"] == "OK" and "CN=" not in entry["certificate"]
    assert entry["address"].startswith("127.0.0.1:") and entry["received"] > 0
    assert authorities.headers("bob")["authorization"][7:27] not in real.log.read_text()
