# An image of Debian 12 with Keymaker in it. Its instances need the role of ../terraform; the build needs none.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.2"
    }
  }
}

variable "repository" {
  type    = string
  default = "https://packages.example.com/apt"
}

source "amazon-ebs" "debian" {
  ami_name      = "debian-12-keymaker-${formatdate("YYYYMMDDhhmm", timestamp())}"
  instance_type = "t3.small"
  ssh_username  = "admin"
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name = "debian-12-amd64-*"
    }
  }
  metadata_options {
    http_tokens = "required"
  }
}

build {
  sources = ["source.amazon-ebs.debian"]

  provisioner "file" {
    source      = "keymaker.asc"
    destination = "/tmp/keymaker.asc"
  }

  provisioner "shell" {
    inline = [
      "sudo install -D -m 0644 /tmp/keymaker.asc /etc/apt/keyrings/keymaker.asc",
      "echo 'deb [signed-by=/etc/apt/keyrings/keymaker.asc] ${var.repository} stable main' | sudo tee /etc/apt/sources.list.d/keymaker.list",
      "printf 'only_group_members = true\\n' | sudo install -D -m 0644 /dev/stdin /etc/keymaker/keymakerd.toml",
      "sudo apt-get update",
      "sudo apt-get install -y keymaker",
      # The last step: it forgets the builder's role, and the ids of users.
      "sudo keymaker reset --yes --no-backup",
    ]
  }
}
