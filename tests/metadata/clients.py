"""The clouds' own libraries against emulated servers: `clients.py CHECK BASE`. Exit code 77: a package is missing."""

import json
import os
import sys


def need(*names):
    """Imports packages, or ends with the exit code for "not installed"."""
    try:
        for name in names:
            __import__(name)
    except ImportError as error:
        print(f"{error}")
        sys.exit(77)


def aws(base):
    need("botocore")
    from botocore.session import Session
    from botocore.utils import IMDSRegionProvider, IMDSFetcher

    os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = base
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        os.environ.pop(name, None)
    session = Session()
    credentials = session.get_credentials()
    assert credentials.method == "iam-role", credentials.method
    frozen = credentials.get_frozen_credentials()
    assert frozen.access_key.startswith("ASIAFAKE"), frozen.access_key
    assert "FAKE-policyprobe" in frozen.token, frozen.token
    region = IMDSRegionProvider(session).provide()
    assert region == "us-east-1", region
    # Version 2: the library asks for a token first, and falls back to none only where that is refused.
    assert IMDSFetcher(base_url=base)._fetch_metadata_token(), "no session token"


def container(base):
    """ECS and EKS Pod Identity: by the URI and the token that a container is given."""
    need("botocore")
    from botocore.session import Session

    os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = base
    if base.endswith("/v1/credentials"):
        os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.eA"
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    credentials = Session().get_credentials()
    assert credentials.method == "container-role", credentials.method
    assert "FAKE-policyprobe" in credentials.get_frozen_credentials().token


def google(base):
    need("google.auth", "requests")
    host = base.split("//")[1]
    os.environ.update(GCE_METADATA_HOST=host, GCE_METADATA_IP=host, GCE_METADATA_ROOT=host)
    os.environ.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    import google.auth
    from google.auth import compute_engine, jwt
    from google.auth.compute_engine import _metadata
    from google.auth.transport.requests import Request

    request = Request()
    assert _metadata.ping(request), "no answer to the library's ping"
    assert _metadata.get_project_id(request) == "policyprobe-lab"
    credentials = compute_engine.Credentials()
    credentials.refresh(request)
    assert "FAKE-policyprobe" in credentials.token, credentials.token
    assert credentials.service_account_email.endswith("gserviceaccount.com")
    identity = compute_engine.IDTokenCredentials(request, "https://a.b", use_metadata_identity_endpoint=True)
    identity.refresh(request)
    claims = jwt.decode(identity.token, verify=False)
    assert claims["aud"] == "https://a.b", claims


def azure(base):
    need("azure.identity")
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = base
    for name in ("IDENTITY_ENDPOINT", "MSI_ENDPOINT"):
        os.environ.pop(name, None)
    from azure.identity import ManagedIdentityCredential

    token = ManagedIdentityCredential().get_token("https://vault.azure.net/.default")
    assert token.token.count(".") == 2, token
    import base64

    payload = token.token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["aud"] == "https://vault.azure.net", claims
    assert "FAKE-policyprobe" in claims["policyprobe"]


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
