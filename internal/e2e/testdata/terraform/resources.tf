# Every resource of models, endpoints, devices and alarms that is served, once
# with as little as it takes and once with all that is.

variable "image" {}

# What may be changed in place changes with this.
variable "change" {
  default = "a"
}

# The model that the endpoints serve.
variable "model" {
  default = "v1"
}

locals {
  role = "arn:aws:iam::123456789012:role/any"
  key  = "arn:aws:kms:us-east-1:123456789012:key/any"
  note = "arn:aws:sns:us-east-1:123456789012:any"
  tags = {
    team  = var.change
    empty = ""
  }
}

resource "aws_sagemaker_model" "served" {
  for_each           = toset(["v1", "v2"])
  name               = each.key
  execution_role_arn = local.role
  primary_container {
    image          = var.image
    model_data_url = "s3://models/${each.key}/model.tar.gz"
  }
  tags = local.tags
}

resource "aws_sagemaker_model" "full" {
  name                     = "full"
  execution_role_arn       = local.role
  enable_network_isolation = true
  primary_container {
    image              = var.image
    container_hostname = "host"
    mode               = "SingleModel"
    environment = {
      GREETING = "hello"
    }
    model_data_source {
      s3_data_source {
        compression_type = "Gzip"
        s3_data_type     = "S3Object"
        s3_uri           = "s3://models/v1/model.tar.gz"
      }
    }
  }
  vpc_config {
    security_group_ids = ["sg-1"]
    subnets            = ["subnet-1"]
  }
}

resource "aws_sagemaker_model" "list" {
  name               = "list"
  execution_role_arn = local.role
  container {
    image          = var.image
    model_data_url = "s3://models/v1/model.tar.gz"
  }
}

resource "aws_sagemaker_endpoint_configuration" "served" {
  name = "of-${var.model}"
  production_variants {
    variant_name           = "main"
    model_name             = aws_sagemaker_model.served[var.model].name
    initial_instance_count = 2
    instance_type          = "ml.m5.large"
  }
  tags = local.tags
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint_configuration" "full" {
  name        = "full"
  kms_key_arn = local.key
  production_variants {
    variant_name                                      = "main"
    model_name                                        = aws_sagemaker_model.served["v1"].name
    initial_instance_count                            = 1
    initial_variant_weight                            = 0.5
    instance_type                                     = "ml.m5.large"
    container_startup_health_check_timeout_in_seconds = 120
    model_data_download_timeout_in_seconds            = 120
    enable_ssm_access                                 = false
    volume_size_in_gb                                 = 20
    routing_config {
      routing_strategy = "LEAST_OUTSTANDING_REQUESTS"
    }
    managed_instance_scaling {
      status             = "DISABLED"
      min_instance_count = 1
      max_instance_count = 2
    }
  }
  shadow_production_variants {
    variant_name           = "shadow"
    model_name             = aws_sagemaker_model.served["v2"].name
    initial_instance_count = 1
    initial_variant_weight = 0.5
    instance_type          = "ml.m5.large"
  }
  data_capture_config {
    enable_capture              = true
    initial_sampling_percentage = 100
    destination_s3_uri          = "s3://captured/"
    capture_options {
      capture_mode = "InputAndOutput"
    }
  }
  tags = local.tags
}

# The provider makes the names.
resource "aws_sagemaker_endpoint_configuration" "unnamed" {
  production_variants {
    model_name             = aws_sagemaker_model.served["v1"].name
    initial_instance_count = 1
    instance_type          = "ml.m5.large"
  }
}

resource "aws_sagemaker_endpoint" "canary" {
  name                 = "canary"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.served.name
  deployment_config {
    blue_green_update_policy {
      traffic_routing_configuration {
        type                     = "CANARY"
        wait_interval_in_seconds = 1
        canary_size {
          type  = "INSTANCE_COUNT"
          value = 1
        }
      }
      termination_wait_in_seconds          = 1
      maximum_execution_timeout_in_seconds = 600
    }
    auto_rollback_configuration {
      alarms {
        alarm_name = aws_cloudwatch_metric_alarm.full.alarm_name
      }
    }
  }
  tags = local.tags
}

resource "aws_sagemaker_endpoint" "rolling" {
  name                 = "rolling"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.served.name
  deployment_config {
    rolling_update_policy {
      wait_interval_in_seconds = 0
      maximum_batch_size {
        type  = "CAPACITY_PERCENT"
        value = 50
      }
      rollback_maximum_batch_size {
        type  = "CAPACITY_PERCENT"
        value = 100
      }
    }
  }
}

resource "aws_sagemaker_endpoint" "plain" {
  name                 = "plain"
  endpoint_config_name = aws_sagemaker_endpoint_configuration.full.name
}

resource "aws_sagemaker_device_fleet" "least" {
  device_fleet_name = "least"
  role_arn          = local.role
  description       = "fleet ${var.change}"
  output_config {
    s3_output_location = "s3://captured/fleet/"
  }
  tags = local.tags
}

resource "aws_sagemaker_device_fleet" "full" {
  device_fleet_name     = "full"
  role_arn              = local.role
  enable_iot_role_alias = true
  output_config {
    s3_output_location = "s3://captured/fleet/"
    kms_key_id         = local.key
  }
}

resource "aws_sagemaker_device" "full" {
  device_fleet_name = aws_sagemaker_device_fleet.least.device_fleet_name
  device {
    device_name    = "full"
    description    = "device ${var.change}"
    iot_thing_name = "thing"
  }
}

resource "aws_sagemaker_device" "least" {
  device_fleet_name = aws_sagemaker_device_fleet.least.device_fleet_name
  device {
    device_name = "least"
  }
}

resource "aws_cloudwatch_metric_alarm" "full" {
  alarm_name                = "full"
  alarm_description         = "alarm ${var.change}"
  comparison_operator       = "GreaterThanThreshold"
  evaluation_periods        = 1
  datapoints_to_alarm       = 1
  namespace                 = "AWS/SageMaker"
  metric_name               = "Invocation5XXErrors"
  period                    = 60
  statistic                 = "Sum"
  unit                      = "Count"
  threshold                 = 5
  treat_missing_data        = "notBreaching"
  alarm_actions             = [local.note]
  ok_actions                = [local.note]
  insufficient_data_actions = [local.note]
  dimensions = {
    EndpointName = "canary"
    VariantName  = "main"
  }
  tags = local.tags
}

resource "aws_cloudwatch_metric_alarm" "percentile" {
  alarm_name                            = "percentile"
  comparison_operator                   = "GreaterThanOrEqualToThreshold"
  evaluation_periods                    = 2
  namespace                             = "AWS/SageMaker"
  metric_name                           = "ModelLatency"
  period                                = 60
  extended_statistic                    = "p99"
  threshold                             = 1000
  evaluate_low_sample_count_percentiles = "ignore"
}

resource "aws_cloudwatch_metric_alarm" "math" {
  alarm_name          = "math"
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 1
  threshold           = 0.05
  actions_enabled     = false
  metric_query {
    id          = "rate"
    expression  = "m1/m2"
    label       = "rate"
    return_data = true
  }
  metric_query {
    id = "m1"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocation5XXErrors"
      period      = 60
      stat        = "Sum"
      unit        = "None"
      dimensions = {
        EndpointName = "canary"
        VariantName  = "main"
      }
    }
  }
  metric_query {
    id = "m2"
    metric {
      namespace   = "AWS/SageMaker"
      metric_name = "Invocations"
      period      = 60
      stat        = "Sum"
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "full" {
  alarm_name        = "either"
  alarm_description = "composite ${var.change}"
  alarm_actions     = [local.note]
  alarm_rule = join(" OR ", [
    "ALARM(${aws_cloudwatch_metric_alarm.full.alarm_name})",
    "ALARM(${aws_cloudwatch_metric_alarm.percentile.alarm_name})",
  ])
  tags = local.tags
}

resource "aws_cloudwatch_composite_alarm" "suppressed" {
  alarm_name      = "suppressed"
  alarm_rule      = "ALARM(${aws_cloudwatch_metric_alarm.full.alarm_name})"
  actions_enabled = false
  actions_suppressor {
    alarm            = aws_cloudwatch_metric_alarm.percentile.alarm_name
    extension_period = 10
    wait_period      = 20
  }
}
