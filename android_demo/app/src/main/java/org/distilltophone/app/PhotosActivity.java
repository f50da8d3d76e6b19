package org.distilltophone.app;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.DialogInterface;
import android.content.pm.PackageManager;
import android.os.Bundle;
import android.view.View;
import android.widget.CompoundButton;
import android.widget.ProgressBar;
import android.widget.Switch;
import android.widget.TextView;
import android.widget.Toolbar;
import java.io.IOException;
import org.distilltophone.core.PhotoIndex;

/** Controls the index of the user's photos: start, progress, stop, follow changes, delete. */
public final class PhotosActivity extends Activity implements Indexer.Listener {
    private static final int ASK = 1;
    private static final String REFUSED = "refused";
    private static final String FOLLOW_NEXT = "follow_next";

    private Indexer indexer;
    private Switch follow;
    /** The user has just refused the permission. */
    private boolean refused;
    /** The permission was requested in order to follow changes, not only to index once. */
    private boolean followNext;

    @Override
    protected void onCreate(Bundle kept) {
        super.onCreate(kept);
        setContentView(R.layout.photos);
        setActionBar((Toolbar) findViewById(R.id.bar));
        getActionBar().setDisplayHomeAsUpEnabled(true);
        indexer = ((DemoApp) getApplication()).indexer;
        refused = kept != null && kept.getBoolean(REFUSED);
        followNext = kept != null && kept.getBoolean(FOLLOW_NEXT);
        follow = findViewById(R.id.follow);
        follow.setSaveEnabled(false); // the settings store it
        findViewById(R.id.start).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                followNext = false;
                begin();
            }
        });
        findViewById(R.id.stop).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                indexer.stop();
            }
        });
        findViewById(R.id.forget).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                askToForget();
            }
        });
        follow.setChecked(Settings.read(this).follow);
        follow.setOnCheckedChangeListener(new CompoundButton.OnCheckedChangeListener() {
            @Override
            public void onCheckedChanged(CompoundButton button, boolean on) {
                if (on && !MediaPhotos.permitted(PhotosActivity.this)) {
                    follow.setChecked(false);
                    followNext = true;
                    begin();
                } else {
                    setFollow(on);
                }
            }
        });
    }

    @Override
    protected void onStart() {
        super.onStart();
        indexer.add(this);
        indexerChanged();
    }

    @Override
    protected void onStop() {
        indexer.remove(this);
        super.onStop();
    }

    @Override
    protected void onSaveInstanceState(Bundle kept) {
        super.onSaveInstanceState(kept);
        kept.putBoolean(REFUSED, refused);
        kept.putBoolean(FOLLOW_NEXT, followNext);
    }

    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }

    private void begin() {
        if (MediaPhotos.permitted(this)) {
            refused = false;
            indexer.start();
            IndexJob.now(this); // continues when the user leaves the app
        } else {
            requestPermissions(new String[] {MediaPhotos.permission()}, ASK);
        }
    }

    @Override
    public void onRequestPermissionsResult(int code, String[] permissions, int[] answers) {
        refused = answers.length == 0 || answers[0] != PackageManager.PERMISSION_GRANTED;
        if (!refused) {
            begin();
            if (followNext) {
                follow.setChecked(true);
            }
        }
        indexerChanged();
    }

    private void setFollow(boolean on) {
        Settings.preferences(this).edit().putBoolean("follow", on).apply();
        IndexJob.follow(this, on);
    }

    private void askToForget() {
        new AlertDialog.Builder(this)
            .setMessage(R.string.photos_forget_ask)
            .setNegativeButton(R.string.close, null)
            .setPositiveButton(R.string.photos_forget, new DialogInterface.OnClickListener() {
                @Override
                public void onClick(DialogInterface closed, int button) {
                    forget();
                }
            })
            .show();
    }

    private void forget() {
        follow.setChecked(false);
        String problem = null;
        try {
            ((DemoApp) getApplication()).forgetPhotos();
        } catch (IOException error) {
            problem = error.getMessage();
        }
        indexerChanged();
        if (problem != null) {
            ((TextView) findViewById(R.id.state)).setText(getString(R.string.photos_failed, problem));
        }
    }

    @Override
    public void indexerChanged() {
        boolean running = indexer.running();
        findViewById(R.id.start).setVisibility(running ? View.GONE : View.VISIBLE);
        findViewById(R.id.stop).setVisibility(running ? View.VISIBLE : View.GONE);
        findViewById(R.id.forget).setEnabled(!running);
        ProgressBar bar = findViewById(R.id.progress);
        bar.setVisibility(running ? View.VISIBLE : View.GONE);
        bar.setIndeterminate(indexer.total() == 0);
        bar.setMax(indexer.total());
        bar.setProgress(indexer.done());
        TextView state = findViewById(R.id.state);
        TextView detail = findViewById(R.id.detail);
        if (running) {
            state.setText(indexer.total() == 0 ? getString(R.string.photos_listing)
                : getString(R.string.photos_running, indexer.done(), indexer.total()));
            detail.setText("");
            return;
        }
        String problem = refused ? getString(R.string.photos_permission)
            : indexer.problem() == null ? null : getString(R.string.photos_failed, indexer.problem());
        try {
            PhotoIndex photos = ((DemoApp) getApplication()).photos();
            state.setText(photos.count() == 0 ? getString(R.string.photos_none)
                : getResources().getQuantityString(R.plurals.photos_count, photos.count(), photos.count()));
            detail.setText(problem != null ? problem : summary(photos));
        } catch (IOException error) {
            state.setText(AppModel.problem(this, error));
            detail.setText("");
        }
    }

    private String summary(PhotoIndex photos) {
        StringBuilder text = new StringBuilder();
        PhotoIndex.Report report = indexer.report();
        if (report != null) {
            text.append(getString(R.string.photos_report, report.added, report.changed, report.deleted));
            if (!report.finished) {
                text.append(' ').append(getString(R.string.photos_stopped));
            }
        }
        if (photos.skipped() > 0) {
            text.append(text.length() == 0 ? "" : "\n")
                .append(getResources().getQuantityString(R.plurals.photos_skipped, photos.skipped(), photos.skipped()));
        }
        return text.toString();
    }
}
