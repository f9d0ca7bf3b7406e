//! What Azure's emulated servers say about their machine: the real names, with values that are right in form and visibly
//! made up. Every primitive is a string, and what does not exist is an empty one.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::fake::{fake, ssh_key};

/// The versions of the API.
pub(super) const VERSIONS: &[&str] = &[
    "2017-03-01",
    "2017-04-02",
    "2017-08-01",
    "2017-10-01",
    "2017-12-01",
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-08-15",
    "2019-11-01",
    "2020-06-01",
    "2020-07-15",
    "2020-09-01",
    "2020-10-01",
    "2020-12-01",
    "2021-01-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2021-10-01",
    "2021-11-01",
    "2021-11-15",
    "2021-12-13",
    "2023-07-01",
    "2023-11-15",
    "2024-03-15",
    "2024-07-17",
    "2025-04-07",
];

/// The versions of the scheduled events, which have a calendar of their own.
pub(super) const EVENT_VERSIONS: &[&str] =
    &["2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01"];

/// Older versions know no user data.
pub(super) const FIRST_WITH_USER_DATA: &str = "2021-01-01";

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
const VM_ID: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
/// The machine's managed identity.
pub(super) const IDENTITY: &str = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/policyprobe/providers/Microsoft.ManagedIdentity/userAssignedIdentities/policyprobe-node";

/// The document at `/metadata/instance`.
pub(super) fn instance(seed: &str) -> Value {
    let disk = json!({
        "caching": "ReadWrite", "createOption": "FromImage", "diffDiskSettings": {"option": ""}, "diskSizeGB": "30",
        "encryptionSettings": {"enabled": "false"}, "image": {"uri": ""},
        "managedDisk": {"id": "", "storageAccountType": "Premium_LRS"}, "name": "policyprobe-os", "osType": "Linux",
        "vhd": {"uri": ""}, "writeAcceleratorEnabled": "false",
    });
    json!({
        "compute": {
            "azEnvironment": "AzurePublicCloud", "customData": "", "evictionPolicy": "",
            "extendedLocation": {"name": "", "type": ""}, "host": {"id": ""}, "hostGroup": {"id": ""},
            "isHostCompatibilityLayerVm": "false", "isVmInStandbyPool": "", "licenseType": "", "location": "westeurope",
            "name": "policyprobe-node", "offer": "0001-com-ubuntu-server-jammy",
            "osProfile": {
                "adminUsername": "policyprobe", "computerName": "policyprobe-node",
                "disablePasswordAuthentication": "true",
            },
            "osType": "Linux", "physicalZone": "westeurope-az1", "placementGroupId": "",
            "plan": {"name": "", "product": "", "publisher": ""}, "platformFaultDomain": "0",
            "platformSubFaultDomain": "", "platformUpdateDomain": "0", "priority": "", "provider": "Microsoft.Compute",
            "publicKeys": [{"keyData": ssh_key(seed), "path": "/home/policyprobe/.ssh/authorized_keys"}],
            "publisher": "Canonical", "resourceGroupName": "policyprobe",
            "resourceId": format!(
                "/subscriptions/{SUBSCRIPTION}/resourceGroups/policyprobe/providers/Microsoft.Compute/virtualMachines/\
                 policyprobe-node"
            ),
            "securityProfile": {
                "encryptionAtHost": "false", "secureBootEnabled": "true", "securityType": "TrustedLaunch",
                "virtualTpmEnabled": "true",
            },
            "sku": "22_04-lts-gen2",
            "storageProfile": {
                "dataDisks": [],
                "imageReference": {
                    "communityGalleryImageId": "", "exactVersion": "22.04.202408080", "id": "",
                    "offer": "0001-com-ubuntu-server-jammy", "publisher": "Canonical", "sharedGalleryImageId": "",
                    "sku": "22_04-lts-gen2", "version": "latest",
                },
                "osDisk": disk, "resourceDisk": {"size": "34816"},
            },
            "subscriptionId": SUBSCRIPTION, "tags": "environment:lab;owner:policyprobe",
            "tagsList": [{"name": "environment", "value": "lab"}, {"name": "owner", "value": "policyprobe"}],
            "userData": STANDARD.encode(format!("#!/bin/sh\nexport DATABASE_PASSWORD={}\n", fake(seed))),
            "version": "22.04.202408080", "virtualMachineScaleSet": {"id": ""}, "vmId": VM_ID, "vmScaleSetName": "",
            "vmSize": "Standard_D2s_v5", "zone": "1",
        },
        "network": {"interface": [{
            "ipv4": {
                "ipAddress": [{"privateIpAddress": "10.0.0.4", "publicIpAddress": "203.0.113.40"}],
                "subnet": [{"address": "10.0.0.0", "prefix": "24"}],
            },
            "ipv6": {"ipAddress": []},
            "macAddress": "000D3AF806EC",
        }]},
    })
}

/// The attested document. Where a real one is signed, this one says that it is not.
pub(super) fn attested(seed: &str, nonce: &str, [from, until]: &[String; 2]) -> Value {
    let document = json!({
        "licenseType": "", "nonce": nonce, "plan": {"name": "", "product": "", "publisher": ""},
        "sku": "22_04-lts-gen2", "subscriptionId": SUBSCRIPTION,
        "timeStamp": {"createdOn": from, "expiresOn": until}, "vmId": VM_ID,
    });
    json!({"encoding": "pkcs7", "signature": STANDARD.encode(format!("{document} no signature: {}", fake(seed)))})
}

/// The document at `/metadata/loadbalancer`.
pub(super) fn load_balancer() -> Value {
    let addresses = json!([{"frontendIpAddress": "203.0.113.41", "privateIpAddress": "10.0.0.4"}]);
    json!({"loadbalancer": {"inboundRules": [], "outboundRules": [], "publicIpAddresses": addresses}})
}
