"""People come and go in the fake AWS, once a second, until somebody ends this. Each has the key of alice.

usage: people.py ENVIRONMENT KEY FOLDER     each name is a file in FOLDER once the user is whole; one in four goes again
       people.py ENVIRONMENT KEY --one NAME makes this user
"""

import pathlib
import sys
import time

import boto3


def main(environment, key, folder):
    iam, body = administrator(environment), pathlib.Path(key).read_text()
    number = 0
    while True:
        number += 1
        make(iam, f"p{number}", body)
        (pathlib.Path(folder) / f"p{number}").touch()
        if number % 4 == 0 and number > 40:
            remove(iam, f"p{number - 40}")
        time.sleep(1)


def administrator(environment):
    settings = dict(line.split("=", 1) for line in pathlib.Path(environment).read_text().split())
    return boto3.client(
        "iam",
        endpoint_url="http://10.77.0.1:5000",
        region_name="us-east-1",
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=settings["AWS_SECRET_ACCESS_KEY"],
    )


def make(iam, name, body):
    iam.create_user(UserName=name)
    iam.upload_ssh_public_key(UserName=name, SSHPublicKeyBody=body)


def remove(iam, name):
    for key in iam.list_ssh_public_keys(UserName=name)["SSHPublicKeys"]:
        iam.delete_ssh_public_key(UserName=name, SSHPublicKeyId=key["SSHPublicKeyId"])
    iam.delete_user(UserName=name)


if __name__ == "__main__":
    if sys.argv[3] == "--one":
        make(administrator(sys.argv[1]), sys.argv[4], pathlib.Path(sys.argv[2]).read_text())
    else:
        main(*sys.argv[1:])
