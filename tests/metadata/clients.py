"""The clouds' own libraries against emulated servers: `clients.py CHECK BASE`. Exit code 77: a package is missing."""

import ipaddress
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


def boto3_aws(base):
    need("boto3")
    import boto3

    os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = base
    os.environ["AWS_EC2_METADATA_V1_DISABLED"] = "true"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        os.environ.pop(name, None)
    credentials = boto3.Session(region_name="us-east-1").get_credentials()
    assert credentials.method == "iam-role", credentials.method
    assert "FAKE-policyprobe" in credentials.secret_key


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


# cloud-init's own readers, each at an address that it is given. Its data sources go to the real address by themselves, and so
# does its reader for OpenStack, whatever it is given: those are not called.


def cloudinit_aws(base):
    need("cloudinit.sources.helpers.ec2")
    from cloudinit import url_helper
    from cloudinit.sources.helpers import ec2

    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
    token = url_helper.readurl(base + "/latest/api/token", headers=lifetime, request_method="PUT").contents.decode()
    headers = {"headers_cb": lambda _: {"X-aws-ec2-metadata-token": token}}
    # The newest version that it knows, by which it gets tags too.
    data = ec2.get_instance_metadata("2021-03-23", base, **headers)
    assert data["instance-id"] == "i-0123456789abcdef0", data
    assert data["placement"]["region"] == "us-east-1", data
    assert data["tags"]["instance"]["Name"] == "policyprobe-node", data
    assert data["public-keys"]["policyprobe"][0].startswith("ssh-ed25519 "), data
    assert data["network"]["interfaces"]["macs"]["0e:49:61:0f:c3:11"]["device-number"] == "0", data
    # It leaves secrets out by itself.
    assert "security-credentials" not in data.get("iam", {}), data
    assert b"FAKE-policyprobe" in ec2.get_instance_userdata("2021-03-23", base, **headers)
    identity = ec2.get_instance_identity("2021-03-23", base, **headers)
    assert identity["document"]["accountId"] == "111122223333", identity


def cloudinit_gcp(base):
    need("cloudinit.sources.DataSourceGCE")
    from types import SimpleNamespace

    from cloudinit.sources import DataSourceGCE

    once = SimpleNamespace(num_retries=1, sec_between_retries=0, timeout_seconds=5)
    found = DataSourceGCE.read_md(address=base + "/computeMetadata/v1/", url_params=once, platform_check=False)
    assert found["success"], found
    assert found["meta-data"]["local-hostname"].startswith("policyprobe-node."), found
    assert any("ssh-ed25519" in key for key in found["meta-data"]["public-keys-data"]), found


def cloudinit_hetzner(base):
    need("cloudinit.sources.helpers.hetzner")
    from cloudinit.sources.helpers import hetzner

    found = hetzner.read_metadata(base + "/hetzner/v1/metadata", timeout=5, sec_between=1, retries=1)
    assert found["hostname"] == "policyprobe-node", found
    assert found["network-config"]["version"] == 1, found
    assert b"FAKE-policyprobe" in hetzner.read_userdata(base + "/hetzner/v1/userdata", timeout=5, sec_between=1, retries=1)


def cloudinit_digitalocean(base):
    need("cloudinit.sources.helpers.digitalocean")
    from cloudinit.sources.helpers import digitalocean

    found = digitalocean.read_metadata(base + "/metadata/v1.json", timeout=5, sec_between=1, retries=1)
    assert found["droplet_id"] == 2756294, found
    assert {nic["type"] for side in found["interfaces"].values() for nic in side} == {"public", "private"}, found
    assert b"FAKE-policyprobe" in found["user_data"].encode(), found


def only_loopback(event, arguments):
    """Refuses whatever is not for this machine itself, whichever address a library thinks that it knows better."""
    if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return
    address = arguments[1]
    # A Unix socket's is a path; a connected socket's datagrams have none.
    if isinstance(address, tuple) and not ipaddress.ip_address(address[0]).is_loopback:
        raise PermissionError(f"a check may only ask this machine, not {address[0]}")


if __name__ == "__main__":
    # Whoever runs the tests may be in a cloud, where the real server answers.
    sys.addaudithook(only_loopback)
    globals()[sys.argv[1]](sys.argv[2])
