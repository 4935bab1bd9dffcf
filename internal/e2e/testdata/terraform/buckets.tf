# Buckets and objects, and what reads them back.

resource "aws_s3_bucket" "all" {
  bucket        = "terraformed"
  force_destroy = true
  tags          = local.tags
}

resource "aws_s3_object" "full" {
  bucket                 = aws_s3_bucket.all.id
  key                    = "folder/full"
  content                = "hello ${var.change}"
  content_type           = "text/plain"
  cache_control          = "no-cache"
  server_side_encryption = "AES256"
  storage_class          = "STANDARD_IA"
  checksum_algorithm     = "SHA256"
  metadata = {
    key = "value"
  }
  tags = local.tags
}

resource "aws_s3_object_copy" "copy" {
  bucket = aws_s3_bucket.all.id
  key    = "folder/copy"
  source = "${aws_s3_bucket.all.id}/${aws_s3_object.full.key}"
  # Else it gets tags that the configuration does not have.
  tagging_directive = "REPLACE"
}

data "aws_s3_bucket" "all" {
  bucket = aws_s3_bucket.all.id
}

data "aws_s3_object" "full" {
  bucket = aws_s3_bucket.all.id
  key    = aws_s3_object.full.key
}

data "aws_s3_objects" "all" {
  bucket     = aws_s3_bucket.all.id
  depends_on = [aws_s3_object.full, aws_s3_object_copy.copy]
}
