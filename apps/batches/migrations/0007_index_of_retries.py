from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ('batches', '0006_retry_of'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='batch',
            index=models.Index(condition=models.Q(('retry_of__isnull', False)), fields=['retry_of'], name='batch_retries'),
        ),
    ]
