package org.distilltophone.app;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.Context;
import android.content.DialogInterface;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.provider.MediaStore;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.AdapterView;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.RadioGroup;
import android.widget.TextView;
import android.widget.Toast;
import android.widget.Toolbar;
import java.io.IOException;
import java.util.Collections;
import java.util.Locale;

/** Lets the user choose or take a photo, and shows the most similar images. */
public final class MainActivity extends Activity implements Session.Listener {
    private static final int CHOOSE = 1;
    private static final int TAKE = 2;
    private static final String PICTURE = "picture";
    private static final String IN_PHOTOS = "in_photos";

    private Session session;
    private Thumbnails thumbnails;
    private HitAdapter hits;
    private Hint hint;

    /** The text shown without results. Counting images opens files, so the worker thread composes it. */
    private final class Hint implements Runnable {
        private volatile String text;

        @Override
        public void run() {
            text = text();
            openPhotos();
            runOnUiThread(new Runnable() {
                @Override
                public void run() {
                    sessionChanged();
                }
            });
        }

        /** Opens the index in advance: reading a large one takes a moment, and "My photos" should open at once. */
        private void openPhotos() {
            try {
                ((DemoApp) getApplication()).photos();
            } catch (IOException reportedThere) {
                // That page shows the problem.
            }
        }

        private String text() {
            try {
                DemoApp app = (DemoApp) getApplication();
                app.model();
                int count = session.inPhotos() ? app.photos().count() : app.gallery().count();
                if (session.inPhotos() && count == 0) {
                    return getString(R.string.hint_no_photos);
                }
                int words = session.inPhotos() ? R.plurals.hint_photos : R.plurals.hint_demo;
                return getResources().getQuantityString(words, count, count);
            } catch (IOException error) {
                return AppModel.problem(MainActivity.this, error);
            }
        }
    }

    @Override
    protected void onCreate(Bundle kept) {
        super.onCreate(kept);
        setContentView(R.layout.main);
        setActionBar((Toolbar) findViewById(R.id.bar));
        DemoApp app = (DemoApp) getApplication();
        Object before = getLastNonConfigurationInstance();
        session = before != null ? (Session) before : new Session(app);
        if (before == null && kept != null) { // the process was killed meanwhile
            session.choosePlace(kept.getBoolean(IN_PHOTOS));
            session.search((Uri) kept.getParcelable(PICTURE));
        }
        thumbnails = new Thumbnails(app);
        hits = new HitAdapter(thumbnails);
        GridView results = findViewById(R.id.results);
        results.setAdapter(hits);
        results.setOnItemClickListener(new AdapterView.OnItemClickListener() {
            @Override
            public void onItemClick(AdapterView<?> parent, View tile, int position, long id) {
                details(hits.getItem(position));
            }
        });
        RadioGroup places = findViewById(R.id.places);
        places.check(session.inPhotos() ? R.id.in_photos : R.id.in_demo);
        places.setOnCheckedChangeListener(new RadioGroup.OnCheckedChangeListener() {
            @Override
            public void onCheckedChanged(RadioGroup group, int checked) {
                session.choosePlace(checked == R.id.in_photos);
                renewHint();
            }
        });
        findViewById(R.id.query).setClipToOutline(true);
        findViewById(R.id.choose).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                choose();
            }
        });
        findViewById(R.id.take).setOnClickListener(new View.OnClickListener() {
            @Override
            public void onClick(View button) {
                take();
            }
        });
    }

    @Override
    protected void onStart() {
        super.onStart();
        session.listen(this);
        session.refresh();
        renewHint();
    }

    @Override
    protected void onStop() {
        session.listen(null);
        super.onStop();
    }

    @Override
    protected void onDestroy() {
        thumbnails.close();
        super.onDestroy();
    }

    @Override
    public Object onRetainNonConfigurationInstance() {
        return session;
    }

    @Override
    protected void onSaveInstanceState(Bundle kept) {
        super.onSaveInstanceState(kept);
        kept.putParcelable(PICTURE, session.picture());
        kept.putBoolean(IN_PHOTOS, session.inPhotos());
    }

    private void renewHint() {
        hint = new Hint();
        ((DemoApp) getApplication()).worker.execute(hint);
        sessionChanged();
    }

    @Override
    public void sessionChanged() {
        Query result = session.result();
        boolean asked = session.picture() != null;
        boolean found = asked && result != null && !result.hits.isEmpty();
        findViewById(R.id.query_card).setVisibility(asked ? View.VISIBLE : View.GONE);
        findViewById(R.id.busy).setVisibility(session.searching() ? View.VISIBLE : View.GONE);
        hits.show(found ? result.hits : Collections.<Query.Hit>emptyList());
        TextView words = findViewById(R.id.hint);
        boolean failed = asked && !session.searching() && result != null && result.problem != null;
        words.setVisibility(found || asked && session.searching() ? View.GONE : View.VISIBLE);
        words.setText(failed ? result.problem : hint == null || hint.text == null ? getString(R.string.hint_loading) : hint.text);
        words.setTextColor(getColor(failed ? R.color.warning : R.color.text_quiet));
        if (asked) {
            describe(result);
        }
    }

    private void describe(Query result) {
        TextView headline = findViewById(R.id.headline);
        TextView timing = findViewById(R.id.timing);
        if (session.searching() || result == null) {
            headline.setText(R.string.headline_searching);
            return;
        }
        ((ImageView) findViewById(R.id.query)).setImageBitmap(result.preview);
        if (result.problem != null) {
            headline.setText(R.string.headline_failed);
            timing.setText("");
            return;
        }
        headline.setText(getResources().getQuantityString(R.plurals.headline, result.compared, result.compared));
        timing.setText(getString(R.string.timing, milliseconds(result.decodeNanos), milliseconds(result.embedNanos),
            milliseconds(result.searchNanos)));
    }

    static String milliseconds(long nanos) {
        double value = nanos / 1e6;
        return String.format(Locale.getDefault(), value < 10 ? "%.1f" : "%.0f", value);
    }

    private void choose() {
        Intent intent = Build.VERSION.SDK_INT >= 33 ? new Intent(MediaStore.ACTION_PICK_IMAGES).setType("image/*")
            : new Intent(Intent.ACTION_GET_CONTENT).setType("image/*").addCategory(Intent.CATEGORY_OPENABLE);
        start(intent, CHOOSE, R.string.problem_no_chooser);
    }

    private void take() {
        CaptureProvider.forget(this); // a camera that fails must not return the last image
        Intent intent = new Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, CaptureProvider.PHOTO)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION | Intent.FLAG_GRANT_WRITE_URI_PERMISSION);
        intent.setClipData(ClipData.newRawUri("", CaptureProvider.PHOTO)); // the grant applies to this URI
        start(intent, TAKE, R.string.problem_no_camera);
    }

    private void start(Intent intent, int code, int otherwise) {
        try {
            startActivityForResult(intent, code);
        } catch (ActivityNotFoundException none) {
            Toast.makeText(this, otherwise, Toast.LENGTH_LONG).show();
        }
    }

    @Override
    protected void onActivityResult(int code, int outcome, Intent answer) {
        super.onActivityResult(code, outcome, answer);
        if (outcome != RESULT_OK) {
            return;
        }
        Uri picture = code == TAKE ? CaptureProvider.PHOTO : answer == null ? null : answer.getData();
        if (picture != null) {
            session.search(picture);
        }
    }

    private void details(final Query.Hit hit) {
        View picture = getLayoutInflater().inflate(R.layout.details, null);
        thumbnails.show(hit, (ImageView) picture.findViewById(R.id.picture));
        AlertDialog.Builder dialog = new AlertDialog.Builder(this)
            .setTitle(HitAdapter.name(hit))
            .setView(picture)
            .setNegativeButton(R.string.close, null);
        ((TextView) picture.findViewById(R.id.text)).setText(getString(R.string.similarity, HitAdapter.similarity(hit)) + "\n" + hit.id);
        if (hit.row < 0) {
            dialog.setPositiveButton(R.string.open, new DialogInterface.OnClickListener() {
                @Override
                public void onClick(DialogInterface closed, int button) {
                    open(MainActivity.this, Uri.parse(hit.id));
                }
            });
        }
        dialog.show();
    }

    private static void open(Context context, Uri photo) {
        try {
            context.startActivity(new Intent(Intent.ACTION_VIEW, photo).addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION));
        } catch (ActivityNotFoundException none) {
            Toast.makeText(context, R.string.problem_no_viewer, Toast.LENGTH_LONG).show();
        }
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.main, menu);
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        int id = item.getItemId();
        Class<?> next = id == R.id.menu_photos ? PhotosActivity.class : id == R.id.menu_settings ? SettingsActivity.class
            : id == R.id.menu_about ? AboutActivity.class : null;
        if (next == null) {
            return super.onOptionsItemSelected(item);
        }
        startActivity(new Intent(this, next));
        return true;
    }
}
